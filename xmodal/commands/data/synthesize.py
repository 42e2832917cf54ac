"""Voice any JSONL of texts with espeak-ng: WAV files and a manifest to train or to test on.

    pip install 'xmodal[demo]'
    xmodal synthesize texts.jsonl data/spoken --per-text 2
    xmodal synthesize texts.jsonl data/spoken_test --held-out-voices --per-text 2

Reads one JSON object a line with a `text`; writes OUT_FOLDER/manifest.jsonl (all columns of the input, and id, speech,
voice, rate, pitch, range) and OUT_FOLDER/manifest/*.wav. Called again, it goes on where it stopped.
"""

from pathlib import Path

from xmodal.commands.parsing import at_least, command_parser
from xmodal.commands.paths import require_data


def main(argv: list[str]) -> None:
    """Parse the command line and voice the file."""
    parser = command_parser("synthesize", __doc__)
    parser.add_argument("source", type=Path, metavar="IN.jsonl")
    parser.add_argument("folder", type=Path, metavar="OUT_FOLDER")
    voices = parser.add_mutually_exclusive_group()
    voices.add_argument("--voices", help="comma-separated, such as en-us+f2,en-gb-scotland (default: 60 of English)")
    voices.add_argument("--held-out-voices", action="store_true", help="the two voices kept for tests")
    parser.add_argument(
        "--per-text", type=at_least(1, "--per-text"), default=1, help="utterances of each text, in different voices"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=at_least(1, "--processes"), help="default: one per core")
    parser.add_argument("--text-column", default="text")
    given = parser.parse_args(argv)
    require_data(given.source)

    from xmodal.synthesis.manner import HELD_OUT_VOICES, TRAINING_VOICES
    from xmodal.synthesis.speech_synthesis import synthesize_file

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
