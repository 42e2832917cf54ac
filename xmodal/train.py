"""The command `xmodal train` as a script, for launchers: `accelerate launch xmodal/train.py CONFIG`."""

import sys

from xmodal.commands.training.train import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
