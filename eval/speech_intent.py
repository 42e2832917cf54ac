"""Spoken intents of a run: the command `xmodal speech-intent` as a script."""

import sys

from xmodal.commands.evaluate.speech_intent import main
from xmodal.errors import run_script

if __name__ == "__main__":
    sys.exit(run_script(main))
