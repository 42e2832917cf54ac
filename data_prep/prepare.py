"""A corpus as published, turned into manifests: the command `xmodal prepare` as a script."""

import sys

from xmodal.commands.data.prepare import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
