"""Train and compare many runs: `python eval/sweep.py configs/sweeps/fsdd.yaml [--jobs 2]`.

Runs that are finished are not trained again. Prints the table and writes OUTPUT/report; what the sweep file says:
`xmodal/training/sweep.py`.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import UserError, run_script


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="sweep file")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default 1)")
    options = parser.parse_args(argv)
    if options.jobs < 1:
        raise UserError(f"--jobs: found {options.jobs}, expected 1 or more")

    from xmodal.training.sweep import read_sweep, run_sweep

    sweep = read_sweep(options.sweep)
    report = run_sweep(sweep, options.jobs)
    report.write(sweep.output / "report")
    print(report.to_text())
    print(f"report: {sweep.output / 'report' / 'report.html'}")


if __name__ == "__main__":
    sys.exit(run_script(main))
