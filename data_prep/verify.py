"""A corpus' archives against their published checksums: the command `xmodal verify` as a script."""

import sys

from xmodal.commands.data.verify import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
