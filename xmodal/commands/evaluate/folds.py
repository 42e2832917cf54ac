"""Classification by folds: by prompts alone, and by probes that learn from the other folds.

    xmodal folds runs/clap --test data/esc50/all.jsonl
    xmodal folds runs/clap --test data/urbansound8k/all.jsonl --probes linear knn --prompts sound

The manifest has items, label and fold (ESC-50 and ESC-10: five folds, UrbanSound8K: ten). Nothing is drawn at random.
Embeddings are kept in MODEL/embeddings.
"""

from pathlib import Path

from xmodal.commands.parsing import add_loading, add_max_bad, add_model, command_parser
from xmodal.commands.paths import require_data, require_model


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("folds", __doc__)
    add_model(parser)
    parser.add_argument("--test", type=Path, required=True, help="items, labels and folds")
    parser.add_argument("--fold", help="column of the folds (default: fold)")
    parser.add_argument("--folds", nargs="+", help="the folds there must be (default: those found)")
    parser.add_argument("--probes", nargs="*", choices=["linear", "knn"], help="on the other folds (default: linear)")
    parser.add_argument("--prompts", help="template set, YAML or .txt file; default: sound")
    parser.add_argument("--names", type=Path, help="JSON: label -> class name")
    parser.add_argument("--items", default="audio", help="modality under test (default audio)")
    parser.add_argument("--column", help="of the items (default: the modality's name)")
    parser.add_argument("--label", help="column of the labels (default: label)")
    parser.add_argument("--cluster", help="column whose equal values are resampled together")
    parser.add_argument("--trained", action="store_true", help="the classes occur in training")
    add_max_bad(parser, 0.01)
    parser.add_argument("--embeddings", type=Path, help="where embeddings are kept (default MODEL/embeddings)")
    add_loading(parser)
    parser.add_argument("--out", type=Path, help="report folder (default: RUN/folds-TEST)")
    options = parser.parse_args(argv)
    require_model(options.model)
    require_data(options.test, options.names)

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of, spec_of_options
    from xmodal.commands.evaluate.report import evaluate_model
    from xmodal.evaluation.folds.folds import Folds

    settings = (
        "test", "fold", "folds", "probes", "prompts", "names", "items", "column", "label", "cluster", "trained",
        "max_bad",
    )  # fmt: skip
    spec = spec_of_options(Folds.Spec, **{name: getattr(options, name) for name in settings})
    encoder, home, _ = load_for_evaluation(options.model, options)
    called = name_of(options.test)
    report, out = evaluate_model(encoder, {called: spec}, home, options.out or home / f"folds-{called}")
    print(report.to_text())
    print(f"report: {out / 'report.html'}")
