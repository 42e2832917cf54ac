"""`python -m xmodal COMMAND ...`: the same as the console command `xmodal`."""

import sys

from xmodal.commands.cli import run

if __name__ == "__main__":
    sys.exit(run())
