"""Probes and diagnostics of a model's embeddings: the command `xmodal probe` as a script."""

import sys

from xmodal.commands.evaluate.probe import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
