"""Which objective? The same data, store, seeds and seconds for each; settings chosen on dev, the test reported once.

    xmodal compare-objectives my.yaml --objectives infonce cwcl cwcl:perplexity siglip --seeds 3 --budget 100s
    xmodal compare-objectives my.yaml --objectives infonce cwcl:perplexity --dev dev \\
        --grid temperature=0.05,0.1 kernel.perplexity=4,8,16 --jobs 2
    xmodal compare-objectives my.yaml --objectives infonce '{kind: cwcl, kernel: {kind: power, power: 4}}'
    xmodal compare-objectives which.yaml      # a file with config, objectives, seeds, budget, dev: docs/evaluation.md

An objective is a kind, KIND:KERNEL, or a mapping. What one needs (views, a momentum target, a predictor) is given by
default and said; one that cannot be run is left out and said. --budget is training time of each run: a step of every
objective is timed first, and its number of steps fixed. Called again it goes on where it stopped. Prints the table and
writes OUTPUT/report, with the picture of quality against seconds.
"""

from pathlib import Path

from xmodal.commands.parsing import at_least, command_parser
from xmodal.commands.paths import find_yaml


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("compare-objectives", __doc__)
    parser.add_argument("config", help="a run's YAML file or shipped name; or a file with config and objectives")
    parser.add_argument("--objectives", nargs="+", default=[], help="kind, kind:kernel, or '{kind: ..., ...}'")
    parser.add_argument("--seeds", type=at_least(1, "--seeds"), help="runs of each, from the config's seed on (3)")
    parser.add_argument("--budget", help="training time of each run: 100s, 2m, 1h; or 500steps (default: train.steps)")
    parser.add_argument("--dev", nargs="+", help="the config's evaluators that choose settings; the others are tests")
    parser.add_argument("--metric", help="of dev and tests (default: the usual one of the evaluator)")
    parser.add_argument("--grid", nargs="+", default=[], metavar="KEY=V,V", help="settings that dev chooses from")
    parser.add_argument("--set", nargs="+", dest="overrides", metavar="a.b=value", help="keys of the config, for all")
    parser.add_argument("--output", type=Path, help="folder (default: the config's output with _objectives behind)")
    parser.add_argument("--jobs", type=at_least(1, "--jobs"), default=1, help="runs at a time (default 1)")
    options = parser.parse_args(argv)
    path = find_yaml(options.config)

    from xmodal.training.comparison.request import read_request

    given = {name: getattr(options, name) for name in ("output", "seeds", "budget", "dev", "metric", "overrides")}
    request = read_request(path, given, options.objectives, options.grid)

    from xmodal.training.comparison.compare_objectives import compare_objectives  # torch: a mistake is told before

    report, folder = compare_objectives(request, options.jobs)
    print(report.to_text())
    print(f"report: {folder / 'report.html'}")
