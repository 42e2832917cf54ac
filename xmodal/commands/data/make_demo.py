"""Write the demo's data: 8,000 spoken commands and remarks and 3,000 words to train on, and two tests (all espeak-ng).

    xmodal make-demo data/demo
    xmodal make-demo data/demo_scratch --takes 2 --words 0 --fillings 17    # for demo_scratch_cwcl
    xmodal make-demo data/demo_dev --dev        # for sweeps/demo_dev, which chooses the demo's objective

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
    parser.add_argument(
        "--takes", type=at_least(1, "--takes"), default=1, help="voicings of each sentence, in 60 voices"
    )
    parser.add_argument("--words", type=at_least(0, "--words"), help="single words of the guide's vocabulary (3000)")
    parser.add_argument("--fillings", type=at_least(1, "--fillings"), help="sentences of a template, at most (10)")
    parser.add_argument("--dev", action="store_true", help="a dev split in place of the tests, to choose settings on")
    parser.add_argument("--processes", type=at_least(1, "--processes"), help="default: one per core")
    given = parser.parse_args(argv)

    from xmodal.synthesis.demo import FILLINGS, WORDS, Making, make_demo

    words = WORDS if given.words is None else given.words
    making = Making(given.seed, given.takes, words, given.fillings or FILLINGS, given.dev)
    make_demo(given.folder, making, given.processes)
    print(given.folder)
