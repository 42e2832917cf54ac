"""Zero-shot classification: the command `xmodal zero-shot` as a script."""

import sys

from xmodal.commands.evaluate.zero_shot import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
