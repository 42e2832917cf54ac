"""Two runs side by side: the command `xmodal compare` as a script."""

import sys

from xmodal.commands.evaluate.compare import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
