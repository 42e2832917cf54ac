"""The embedded items nearest to a query: the command `xmodal search` as a script."""

import sys

from xmodal.commands.evaluate.search import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
