"""Run a config's frozen towers once: the command `xmodal embed-frozen` as a script."""

import sys

from xmodal.commands.data.embed_frozen import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
