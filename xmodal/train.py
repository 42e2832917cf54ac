"""Train one config: `accelerate launch xmodal/train.py CONFIG [a.b=value ...]`.

Without arguments: the demo, its data made first where they are not there, going on where an earlier try stopped.
Ends by printing the evaluators' table and where the report is.
"""

import sys
from pathlib import Path

from xmodal.errors import run_script

DEMO = Path(__file__).resolve().parent.parent / "configs" / "demo_cwcl.yaml"


def main(argv: list[str]) -> None:
    """Read the config, build, train."""
    from xmodal.config.load import load_config

    path, overrides = (Path(argv[0]), argv[1:]) if argv and "=" not in argv[0] else (DEMO, [*argv, "train.resume=true"])
    config = load_config(path, overrides)
    if path == DEMO:
        from xmodal.demo import make_demo

        make_demo(config.data.train.parent)
    from xmodal.trainer import Trainer

    report = Trainer(config).fit()
    if report is not None:
        print(report.to_text())  # noqa: T201
        print(f"report: {config.output / 'report' / 'report.html'}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(run_script(main))
