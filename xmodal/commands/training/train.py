"""Train one config, in one process.

    xmodal train my.yaml
    xmodal train my.yaml train.steps=500 output=runs/short     # any key of the config, as a.b=value
    xmodal train demo_cwcl                                     # one that is shipped with xmodal
    accelerate launch --num_processes 4 -m xmodal.train my.yaml    # several GPUs

Without a config: the demo, its data made first where they are not there, going on where an earlier try stopped.
Ends by printing the evaluators' table and where the report is.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from xmodal.commands.parsing import command_parser
from xmodal.commands.paths import find_yaml, require_data

DEMO = "demo_cwcl"


def main(argv: list[str]) -> None:
    """Train what the command line names."""
    parser = command_parser("train", __doc__)
    parser.add_argument("config", nargs="?", help="a YAML file, or a shipped config's name; left out: the demo")
    parser.add_argument("overrides", nargs="*", metavar="a.b=value", help="keys of the config, set here")
    options = parser.parse_args(argv)
    if options.config is None or "=" in options.config:
        train_demo([options.config] * (options.config is not None) + options.overrides)
    else:
        train(options.config, options.overrides)


def train(name: str, overrides: Sequence[str], prepare: Callable[[], None] | None = None) -> Path | None:
    """Train a config, by path or shipped name, and print its report's table; the run folder, where one was printed.

    Args:
        name: what `find_yaml` takes.
        overrides: `a.b=value`, as for `load_config`.
        prepare: makes the data, where they may not be there yet.
    """
    path = find_yaml(name)
    let_threads_wait()
    from xmodal.config.load import load_config

    config = load_config(path, overrides)
    if prepare is None:
        require_data(config.data.train, hint=config.data.made_by and f"make it with: {config.data.made_by}")
    else:
        from xmodal.runs.folder import require_free

        require_free(config.output)  # before minutes go into the data

    from xmodal.training.trainer import Trainer

    report = Trainer(config, prepare or (lambda: None)).fit()
    if report is None:
        return None
    print(report.to_text())
    print(f"report: {config.output / 'report' / 'report.html'}")
    return config.output


def let_threads_wait() -> None:
    """Before torch is imported, whose thread pool reads it: threads that wait for one another give their core away.

    The demo on two cores, alone: 5.7 steps/s in place of 6.7; beside other work 25 steps took 21 s in place of 76.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def train_demo(overrides: Sequence[str]) -> None:
    """Make the demo's data and train on them, going on where an earlier try stopped; with the people of `XMODAL_DATA`.

    Data named on the command line are the user's: nothing is made then.

    Args:
        overrides: `a.b=value`, as for `load_config`.
    """
    if any(override.startswith(("data=", "data.train=")) for override in overrides):
        train(DEMO, [*overrides, "train.resume=true"])
        return
    from xmodal.config.load import load_config
    from xmodal.synthesis.demo import make_demo

    shipped = load_config(find_yaml(DEMO)).data.train
    people: list[str] = []
    if "XMODAL_DATA" in os.environ:
        from xmodal.synthesis.demo_people import corpora_in, make_people, people_overrides

        corpora = Path(os.environ["XMODAL_DATA"])
        people = people_overrides(shipped.parent, corpora)
        print(f"people: {', '.join(corpora_in(corpora)) or 'none'} of {corpora} (XMODAL_DATA)", flush=True)

    def prepare() -> None:
        make_demo(shipped.parent)
        if people:
            make_people(shipped.parent, corpora, shipped)

    run = train(DEMO, [*people, *overrides, "train.resume=true"], prepare)
    if run is not None:
        print(f'speak to it: xmodal listen {run} --intent "turn on the lights" --intent "play some music"')
