"""How much the choice of prompts matters: the command `xmodal robustness` as a script."""

import sys

from xmodal.commands.evaluate.robustness import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
