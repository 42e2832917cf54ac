"""Write the demo's data: the command `xmodal make-demo` as a script."""

import sys

from xmodal.commands.data.make_demo import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
