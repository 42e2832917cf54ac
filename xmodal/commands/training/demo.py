"""The demo: makes its data (2.1 GB of synthetic speech), trains a speech tower, evaluates it, prints the table.

    xmodal demo
    xmodal demo output=runs/mine train.steps=500    # any key of the config, as a.b=value
    xmodal demo --frames                            # over the frozen frames of Whisper tiny.en, which hear people

Goes on where an earlier try stopped. The config is the shipped `demo_cwcl`, or with `--frames` `demo_frames_cwcl`.
There, where XMODAL_DATA names a folder with speechocean762, fsdd or speech_commands_mini in it, sentences read by
people are trained on too, and people are tested.
"""

from xmodal.commands.parsing import command_parser
from xmodal.commands.training.train import train_demo


def main(argv: list[str]) -> None:
    """Train the demo."""
    parser = command_parser("demo", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="a.b=value", help="keys of the config, set here")
    parser.add_argument(
        "--frames", action="store_true", help="over frozen frames, with people where XMODAL_DATA is set"
    )
    options = parser.parse_args(argv)
    train_demo(options.overrides, options.frames)
