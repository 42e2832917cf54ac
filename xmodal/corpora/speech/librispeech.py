"""LibriSpeech (Panayotov et al., ICASSP 2015): 1,000 hours of read books, official splits without a common speaker.

Input: `SPEAKERS.TXT` and the folders of the splits, `SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac` beside
`SPEAKER-CHAPTER.trans.txt`. Output: `OUT/SPLIT.jsonl`.
"""

from collections.abc import Sequence
from pathlib import Path

from xmodal.corpora.audio_manifest import Row, write_audio
from xmodal.corpora.image_manifest import chosen_splits
from xmodal.corpora.splits import has_splits
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.files import split_lines

SPLITS = (
    "train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "dev-other", "test-clean", "test-other",
)  # fmt: skip

_GENDERS = {"F": "female", "M": "male"}


@has_splits(*SPLITS)
def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write a manifest for each split there.

    Columns: `id`, `speech`, `text` (in lower case: it is published in capitals, which cased text towers take for
    shouting), `speaker`, `gender` (of `SPEAKERS.TXT`), `chapter`, `seconds`. Left out, and listed: recordings without a
    transcript, transcripts without words or without a recording, files that cannot be read.

    `ROOT` may also be the folder that holds `LibriSpeech`.

    Raises:
        UserError: no split there, no SPEAKERS.TXT, or a file that is not UTF-8.

    Example:
        prepare(Path("data/LibriSpeech"), Path("runs/data/librispeech"), splits=["dev-clean"])
    """
    root = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    chosen = chosen_splits(root, splits, {split: [split, "SPEAKERS.TXT"] for split in SPLITS})
    genders = _genders(root / "SPEAKERS.TXT")
    written: dict[Path, int] = {}
    for split in chosen:
        skipped: list[Bad] = []
        rows = _rows(root / split, genders, skipped)
        written |= write_audio(out / f"{split}.jsonl", rows, skipped, limit)
    return written


def _genders(path: Path) -> dict[str, str]:
    """Gender by speaker; the lines are `ID | F or M | SUBSET | MINUTES | NAME`, those of comments begin with `;`."""
    found = {}
    for line in _lines(path):
        parts = [part.strip() for part in line.split("|", 4)]
        if not line.startswith(";") and len(parts) == 5 and parts[1] in _GENDERS:
            found[parts[0]] = _GENDERS[parts[1]]
    return found


def _rows(folder: Path, genders: dict[str, str], skipped: list[Bad]) -> list[Row]:
    rows: list[Row] = []
    for chapter in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        speaker = chapter.parent.name
        transcripts = chapter / f"{speaker}-{chapter.name}.trans.txt"
        lines = _lines(transcripts) if transcripts.is_file() else []
        texts = dict(line.partition(" ")[::2] for line in lines if line)
        recordings = {path.stem: path for path in sorted(chapter.glob("*.flac"))}
        skipped += [(str(recordings[name]), "no transcript") for name in recordings if name not in texts]
        for name, text in texts.items():
            if not text.strip():
                skipped.append((f"{transcripts}: {name}", "empty transcript"))
                continue
            row = {"id": name, "speech": chapter / f"{name}.flac", "text": text.strip().lower(), "speaker": speaker}
            gender = {"gender": genders[speaker]} if speaker in genders else {}
            rows.append({**row, **gender, "chapter": chapter.name})
    return rows


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in split_lines(path.read_bytes().decode("utf-8-sig"))]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); unpack the corpus again") from error
