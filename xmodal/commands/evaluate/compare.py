"""Put two runs side by side, item by item, with paired 95% intervals.

    xmodal compare runs/demo runs/demo_cl
    xmodal compare runs/demo/report runs/demo_cl/report --out runs/cwcl_against_cl

Prints accuracy of both and the difference (the first minus the second) for every data set and protocol; writes
report.md, report.html, report.json to --out. The runs' own reports stay as they are.
"""

from pathlib import Path

from xmodal.commands.parsing import command_parser
from xmodal.commands.paths import require_folder


def main(argv: list[str]) -> None:
    """Compare two runs."""
    parser = command_parser("compare", __doc__)
    parser.add_argument("run_a", type=Path, help="a run folder, or a report folder")
    parser.add_argument("run_b", type=Path, help="the one to compare it with")
    parser.add_argument("--out", type=Path, help="where the comparison goes (default: RUN_A/compare_NAME_OF_B)")
    args = parser.parse_args(argv)
    for run in (args.run_a, args.run_b):
        require_folder(run)

    from xmodal.evaluation.runs.compare import compare_runs
    from xmodal.report.render import table_text

    report, folder = compare_runs(args.run_a, args.run_b, args.out)
    print(table_text(report.tables["Accuracy and difference"]))
    for note in report.notes:
        print(f"note: {note}")
    print(f"\n{folder}/report.html")
