"""Voice any JSONL of texts with espeak-ng: WAV files and a manifest to train or to test on.

    pip install 'xmodal[demo]'
    python data_prep/synthesize_speech.py texts.jsonl data/spoken --per-text 2
    python data_prep/synthesize_speech.py texts.jsonl data/spoken_test --held-out-voices --per-text 2

Reads one JSON object a line with a `text`; writes OUT_FOLDER/manifest.jsonl (all columns of the input, and id, speech,
voice, rate, pitch, range) and OUT_FOLDER/manifest/*.wav. Called again, it goes on where it stopped.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import run_script
from xmodal.synthesis.speech_synthesis import HELD_OUT_VOICES, TRAINING_VOICES, synthesize_file


def main(argv: list[str]) -> None:
    """Parse the command line and voice the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="IN.jsonl")
    parser.add_argument("folder", type=Path, metavar="OUT_FOLDER")
    voices = parser.add_mutually_exclusive_group()
    voices.add_argument("--voices", help="comma-separated, such as en-us+f2,en-gb-scotland (default: 60 of English)")
    voices.add_argument("--held-out-voices", action="store_true", help="the two voices kept for tests")
    parser.add_argument("--per-text", type=int, default=1, help="utterances of each text, in different voices")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, help="default: one per core")
    parser.add_argument("--text-column", default="text")
    given = parser.parse_args(argv)
    chosen = given.voices.split(",") if given.voices else HELD_OUT_VOICES if given.held_out_voices else TRAINING_VOICES
    manifest = synthesize_file(
        given.source,
        given.folder,
        voices=chosen,
        per_text=given.per_text,
        seed=given.seed,
        processes=given.processes,
        text_column=given.text_column,
    )
    print(manifest)


if __name__ == "__main__":
    sys.exit(run_script(main))
