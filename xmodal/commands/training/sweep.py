"""Train and compare many runs: the same config under several settings, each repeated over seeds, folds or speakers.

    xmodal sweep my_sweep.yaml --jobs 2
    xmodal sweep sweeps/fsdd               # one that is shipped with xmodal

Runs that are finished are not trained again. Prints the table and writes OUTPUT/report.
"""

from xmodal.commands.parsing import at_least, command_parser
from xmodal.commands.paths import find_yaml


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("sweep", __doc__)
    parser.add_argument("sweep", help="a sweep file, or a shipped sweep's name")
    parser.add_argument("--jobs", type=at_least(1, "--jobs"), default=1, help="runs at a time (default 1)")
    options = parser.parse_args(argv)
    path = find_yaml(options.sweep, "sweeps")

    from xmodal.training.sweeps.plan import read_sweep

    sweep = read_sweep(path)

    from xmodal.training.sweeps.sweep import run_sweep  # torch: not needed to find a mistake in the file

    report = run_sweep(sweep, options.jobs)
    report.write(sweep.output / "report")
    print(report.to_text())
    print(f"report: {sweep.output / 'report' / 'report.html'}")
