"""Embeddings of a folder or a manifest as one file: the command `xmodal embed` as a script."""

import sys

from xmodal.commands.evaluate.embed import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
