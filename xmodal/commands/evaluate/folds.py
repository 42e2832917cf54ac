"""Classification by folds: by prompts alone, and by probes that learn from the other folds.

    xmodal folds runs/clap --test data/esc50/all.jsonl
    xmodal folds runs/clap --test data/urbansound8k/all.jsonl --probes linear knn --prompts sound

The manifest has items, label and fold (ESC-50 and ESC-10: five folds, UrbanSound8K: ten). Nothing is drawn at random.
Embeddings are kept in RUN/embeddings.
"""

from pathlib import Path

from xmodal.commands.parsing import add_labelled, add_max_bad, add_model, add_report, command_parser
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
    add_labelled(parser)
    parser.add_argument("--cluster", help="column whose equal values are resampled together")
    add_max_bad(parser, 0.01)
    add_report(parser, "RUN/folds-TEST")
    options = parser.parse_args(argv)
    require_model(options.model)
    require_data(options.test, options.names)

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of, side_of_items, spec_of_options
    from xmodal.commands.evaluate.report import evaluate_and_print
    from xmodal.evaluation.folds.folds import Folds

    settings = (
        "test", "fold", "folds", "probes", "prompts", "names", "items", "column", "label", "cluster", "trained",
        "max_bad",
    )  # fmt: skip
    spec = spec_of_options(Folds.Spec, **{name: getattr(options, name) for name in settings})
    encoder, home, _ = load_for_evaluation(options.model, options)
    spec = spec.model_copy(update={"items": side_of_items(encoder, "--items", options.items)})
    called = name_of(options.test)
    evaluate_and_print(encoder, {called: spec}, home, options.out or home / f"folds-{called}")
