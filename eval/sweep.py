"""Train and compare many runs: the command `xmodal sweep` as a script."""

import sys

from xmodal.commands.training.sweep import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
