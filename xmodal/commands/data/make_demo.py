"""Write the demo's data: about 12,000 spoken commands and remarks to train on, and two tests (all espeak-ng).

    xmodal make-demo data/demo

A complete folder is left alone; a half-made one is completed. Held out are six intents, and templates and
voices of the others.
"""

from pathlib import Path

from xmodal.commands.parsing import at_least, command_parser


def main(argv: list[str]) -> None:
    """Parse the command line and make the folder."""
    parser = command_parser("make-demo", __doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=at_least(1, "--processes"), help="default: one per core")
    given = parser.parse_args(argv)

    from xmodal.synthesis.demo import make_demo

    make_demo(given.folder, given.seed, given.processes)
    print(given.folder)
