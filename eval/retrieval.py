"""Retrieval in both directions: the command `xmodal retrieval` as a script."""

import sys

from xmodal.commands.evaluate.retrieval import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
