"""Run tasks of mteb on a run; mteb loads their data, computes the scores, and keeps the results.

    xmodal mteb runs/demo --tasks Banking77Classification STSBenchmark
    xmodal mteb open_clip:ViT-B-32@laion2b_s34b_b79k --tasks CIFAR10ZeroShot
    xmodal mteb runs/demo --tasks my_tasks:HomeIntents

A task of your own is a class, `module:Class`; its code runs. Results lie in RUN/mteb as mteb writes them (of a model
by name in reports/MODEL/mteb), or in --out; what is there is not run again. Needs `pip install 'xmodal[mteb]'`.
"""

from pathlib import Path

from xmodal.commands.parsing import add_loading, add_model, at_least, command_parser
from xmodal.commands.paths import require_model


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("mteb", __doc__)
    add_model(parser)
    parser.add_argument("--tasks", nargs="+", required=True, help="names of mteb's tasks, or module:Class")
    parser.add_argument("--modalities", nargs="+", help="of the run, where two are of one kind (default: all)")
    parser.add_argument("--batch-size", type=at_least(1, "--batch-size"), default=64, help="items at a time (64)")
    parser.add_argument("--out", type=Path, help="folder of mteb's results (default: RUN/mteb)")
    add_loading(parser)
    options = parser.parse_args(argv)
    require_model(options.model)

    from xmodal.evaluation.mteb_tasks import find_tasks, run_tasks

    tasks = find_tasks(options.tasks)
    from xmodal import load
    from xmodal.commands.evaluate.model import home_of

    encoder = load(options.model, dtype=options.dtype, trust_remote_code=options.trust_remote_code)
    model = encoder.as_mteb(options.modalities)
    out = options.out or home_of(options.model) / "mteb"
    for score in run_tasks(model, tasks, out, options.batch_size):
        where = score.split if score.subset == "default" else f"{score.split}, {score.subset}"
        print(f"{score.task:32} {score.metric:20} {score.value:.4f}  ({where})")
    print(f"results: {out}")
