"""Voice any JSONL of texts: the command `xmodal synthesize` as a script."""

import sys

from xmodal.commands.data.synthesize import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
