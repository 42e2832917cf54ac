"""Put two runs side by side, item by item, with paired 95% intervals.

    python eval/compare.py runs/demo runs/demo_cl
    python eval/compare.py runs/demo/report runs/demo_cl/report --out runs/cwcl_against_cl

Prints accuracy of both and the difference (the first minus the second) for every data set and protocol; writes
report.md, report.html, report.json to --out. The runs' own reports stay as they are.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import run_script
from xmodal.evaluation.runs.compare import compare_runs
from xmodal.report.render import table_text


def main(argv: list[str]) -> None:
    """Compare two runs."""
    parser = argparse.ArgumentParser(description="two runs side by side, with paired 95% intervals")
    parser.add_argument("run_a", type=Path, help="a run folder, or a report folder")
    parser.add_argument("run_b", type=Path, help="the one to compare it with")
    parser.add_argument("--out", type=Path, help="where the comparison goes (default: RUN_A/compare_NAME_OF_B)")
    args = parser.parse_args(argv)
    report, folder = compare_runs(args.run_a, args.run_b, args.out)
    print(table_text(report.tables["Accuracy and difference"]))
    for note in report.notes:
        print(f"note: {note}")
    print(f"\n{folder}/report.html")


if __name__ == "__main__":
    sys.exit(run_script(main))
