"""Choose the kernel of a config that says `kernel: {kind: auto}`, and stop before training.

    xmodal choose-kernel my.yaml
    xmodal choose-kernel my.yaml output=runs/other     # any key of the config, as a.b=value

`xmodal train` chooses by itself; several processes need it done before. What was chosen and why is in OUTPUT/auto.
"""

from xmodal.commands.parsing import command_parser
from xmodal.commands.paths import find_yaml, require_data
from xmodal.commands.training.train import let_threads_wait
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Parse the options and make the choice."""
    parser = command_parser("choose-kernel", __doc__)
    parser.add_argument("config", help="a YAML file, or a shipped config's name")
    parser.add_argument("overrides", nargs="*", metavar="a.b=value", help="keys of the config, set here")
    options = parser.parse_args(argv)
    path = find_yaml(options.config)
    let_threads_wait()

    from xmodal.config.load import load_config
    from xmodal.config.terms.auto import auto_term

    config = load_config(path, options.overrides)
    if auto_term(config) is None:
        raise UserError(f"{path}: no term of the objective has kernel: {{kind: auto}}, so there is nothing to choose")
    require_data(config.data.train, hint=config.data.made_by and f"make it with: {config.data.made_by}")

    from xmodal.runs.kernel_choice import read_choice
    from xmodal.training.trainer import Trainer

    found = read_choice(config.output)
    Trainer(config)
    choice = read_choice(config.output) or {}
    if choice == found:  # what is chosen now has been said
        print(f"{choice['key']}: {choice['name']}: {choice['reason']}")
