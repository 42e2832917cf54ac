"""Train one config: `accelerate launch xmodal/train.py CONFIG [a.b=value ...]`.

Without arguments: the demo, its data made first where they are not there, going on where an earlier try stopped.
Ends by printing the evaluators' table and where the report is.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import run_script

DEMO = Path(__file__).resolve().parent.parent / "configs" / "demo_cwcl.yaml"


def main(argv: list[str]) -> None:
    """Read the config, build, train."""
    from xmodal.config.load import load_config

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="a YAML file; left out: the demo")
    parser.add_argument("overrides", nargs="*", metavar="a.b=value", help="keys of the config, set here")
    options = parser.parse_args(argv)
    if options.config is not None and "=" not in options.config:
        config, is_demo = load_config(options.config, options.overrides), False
    else:
        first = [options.config] if options.config else []
        config = load_config(DEMO, [*first, *options.overrides, "train.resume=true"])
        # data named on the command line are the user's: never written to
        is_demo = config.data == load_config(DEMO).data

    def prepare() -> None:
        if is_demo:
            from xmodal.synthesis.demo import make_demo

            make_demo(config.data.train.parent)

    from xmodal.training.trainer import Trainer

    report = Trainer(config, prepare).fit()
    if report is not None:
        print(report.to_text())  # noqa: T201
        print(f"report: {config.output / 'report' / 'report.html'}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(run_script(main))
