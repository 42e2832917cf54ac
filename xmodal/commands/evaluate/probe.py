"""What can be read off a model's embeddings: linear probe, kNN, few-shot, and diagnostics of the space.

    xmodal probe runs/cifar --train data/cifar10/train.parquet --test data/cifar10/test.parquet
    xmodal probe runs/demo --test data/demo/test.jsonl --what diagnostics

Needs columns of items and `label`; the diagnostics of two modalities, texts beside the items. Writes report.md,
report.html, report.json to --out. Embeddings of the items are kept in MODEL/embeddings, as by `xmodal zero-shot`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from xmodal.commands.parsing import add_max_bad, add_model, add_report, at_least, command_parser
from xmodal.commands.paths import require_data, require_model

if TYPE_CHECKING:
    pass

WHAT = ("linear", "knn", "few_shot", "diagnostics")


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("probe", __doc__)
    add_model(parser)
    parser.add_argument("--train", type=Path, help="items and labels the probes learn from")
    parser.add_argument("--test", type=Path, required=True, help="items and labels they are tested on")
    parser.add_argument("--items", help="modality of the items, and their column; default: the one that is no text")
    parser.add_argument("--text", default="text", help="the other modality of the diagnostics, and its column (text)")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT, help="default: all of them")
    parser.add_argument("--k", type=at_least(1, "--k"), help="neighbours of kNN (default: chosen on a part of --train)")
    parser.add_argument(
        "--shots", type=int, nargs="+", help="examples per class (default 1 4 16, where there are so many)"
    )
    parser.add_argument("--group", help="column of items that belong together, such as speaker")
    add_max_bad(parser, 0.01)
    add_report(parser, "RUN/probe-TEST")
    options = parser.parse_args(argv)
    require_model(options.model)
    require_data(options.train, options.test)

    from xmodal.commands.evaluate.model import load_for_evaluation, name_of, require_writable, side_of_items
    from xmodal.evaluation.probes.probe_report import ProbePlan, probe_report

    encoder, home, _ = load_for_evaluation(options.model, options)
    plan = ProbePlan(
        test=options.test,
        train=options.train,
        modality=side_of_items(encoder, "--items", options.items),
        text=options.text,
        what=tuple(options.what),
        k=options.k,
        shots=tuple(options.shots) if options.shots else None,
        group=options.group,
        max_bad=options.max_bad,
    )
    out = options.out or home / f"probe-{name_of(options.test)}"
    require_writable(out)
    report = probe_report(encoder, plan)
    report.write(out)
    print(report.to_text())
    print(f"report: {out / 'report.html'}")
