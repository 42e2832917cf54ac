"""The demo: makes its data (synthetic speech), trains on it, evaluates, prints the table.

    xmodal demo
    xmodal demo output=runs/mine train.steps=500    # any key of the config, as a.b=value

Goes on where an earlier try stopped. The config is the shipped `demo_cwcl`: a head over the frozen frames of Whisper
tiny.en. Where XMODAL_DATA names a folder with speechocean762, fsdd or speech_commands_mini in it, sentences read by
people are trained on too, and people are tested; none of it is needed.
"""

from xmodal.commands.parsing import command_parser
from xmodal.commands.training.train import train_demo


def main(argv: list[str]) -> None:
    """Train the demo."""
    parser = command_parser("demo", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="a.b=value", help="keys of the config, set here")
    train_demo(parser.parse_args(argv).overrides)
