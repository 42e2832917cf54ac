"""Free Spoken Digit Dataset: six leave-one-speaker-out folds.

Input: a folder holding `recordings/{digit}_{speaker}_{take}.wav`, 10 digits x 6 speakers x 50 takes, human speech,
8 kHz (github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0). Output: `OUT/<speaker>/train.jsonl`, the other
five speakers, and `OUT/<speaker>/test.jsonl`, that speaker alone. The corpus' official test set (takes 0-4) shares
its speakers with training and says little about a new voice; it is not made.
"""

import re
from pathlib import Path

from xmodal.errors import UserError
from xmodal.files import write_json_lines

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES = 50

_NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")

_SHOWN = 5  # file names in an error line


def prepare(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write the six folds; returns each manifest's number of rows (2,500 and 500).

    Columns: `id`, `speech` (absolute path, or relative to the manifest's folder if inside it), `text` and `label`
    (both "zero" to "nine"), `speaker`, `take`. Rows run over takes, then digits, then speakers, so that the first
    `limit` rows hold every class.

    Raises:
        UserError: no `recordings` folder; recordings missing, empty, or with a name of another form.

    Example:
        prepare(Path("data/fsdd"), Path("runs/data/fsdd"))
    """
    recordings = sorted(_checked(root).items())
    written: dict[Path, int] = {}
    for held_out in SPEAKERS:
        for split in ("train", "test"):
            path = out / held_out / f"{split}.jsonl"
            folder = path.parent.resolve()
            rows = []
            for (take, digit, speaker), file in recordings:
                if (speaker == held_out) == (split == "test"):
                    row = {
                        "id": file.stem,
                        "speech": str(file.relative_to(folder) if file.is_relative_to(folder) else file),
                        "text": DIGITS[digit],
                        "label": DIGITS[digit],
                        "speaker": speaker,
                        "take": take,
                    }
                    rows.append(row)
            written[path] = write_json_lines(path, rows[:limit])
    return written


def _checked(root: Path) -> dict[tuple[int, int, str], Path]:
    """Every recording's absolute path by (take, digit, speaker), the corpus being whole."""
    folder = root / "recordings"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; ROOT is the data set unpacked, the folder that holds recordings/")
    found: dict[tuple[int, int, str], Path] = {}
    odd: list[str] = []
    empty: list[str] = []
    expected = {(t, d, s) for t in range(TAKES) for d in range(10) for s in SPEAKERS}
    for file in sorted(folder.resolve().glob("*.wav")):
        match = _NAME.fullmatch(file.name)
        key = (int(match[3]), int(match[1]), match[2]) if match else None
        if key not in expected:
            odd.append(file.name)
        elif not file.stat().st_size:
            empty.append(file.name)
        else:
            found[key] = file
    missing = [f"{d}_{s}_{t}.wav" for t, d, s in sorted(expected - set(found)) if f"{d}_{s}_{t}.wav" not in empty]
    problems = [
        (missing, f"recordings missing of {len(expected)}", "unpack the corpus again"),
        (empty, "recordings are empty files", "unpack the corpus again"),
        (odd, "files not named DIGIT_SPEAKER_TAKE.wav of the six speakers, takes 0-49", "move them elsewhere"),
    ]
    lines = [
        f"{folder}: {len(names)} {what}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}; {mend}"
        for names, what, mend in problems
        if names
    ]
    if lines:
        raise UserError("\n".join(lines))
    return found
