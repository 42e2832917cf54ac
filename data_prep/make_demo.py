"""Write the demo's data: about 12,000 spoken commands and remarks to train on, and two tests (all espeak-ng).

    python data_prep/make_demo.py data/demo

A complete folder is left alone; a half-made one is completed. What is held out: see xmodal/synthesis/demo.py.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import run_script
from xmodal.synthesis.demo import make_demo


def main(argv: list[str]) -> None:
    """Parse the command line and make the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, help="default: one per core")
    given = parser.parse_args(argv)
    make_demo(given.folder, given.seed, given.processes)
    print(given.folder)


if __name__ == "__main__":
    sys.exit(run_script(main))
