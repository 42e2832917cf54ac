"""ESC-50 and ESC-10 (Piczak, ACM MM 2015): sounds of five seconds, 40 a class, tested by five folds.

Input: the repository as unpacked (`meta/esc50.csv`, `audio/`); of ESC-10 also the older form, class folders
`NNN - Name/FOLD-SOURCE-TAKE.ogg`. Output: manifests for each fold (`folds.py`).
"""

import re
from pathlib import Path

from xmodal.corpora.audio_manifest import Row
from xmodal.corpora.image_manifest import chosen_splits
from xmodal.corpora.sound.folds import write_folds
from xmodal.corpora.tables import empty_values, read_table
from xmodal.data.unusable import Bad
from xmodal.prompts import readable

FOLDS = range(1, 6)

_TABLE = "meta/esc50.csv"
_NEEDED = ("filename", "fold", "category", "esc10", "src_file")
_CLASS = re.compile(r"\d+ - (.+)")
_CLIP = re.compile(r"([1-5])-(\d+)-(\w+)")


def prepare_esc50(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write the manifests of ESC-50 by folds.

    Columns: `id` (the file's name), `audio`, `label` (`dog`, `clock_tick`), `text` (the same in words), `fold`,
    `source` (the recording it was cut from; all of its clips are in one fold), `seconds`. Left out, and listed: clips
    that are missing or cannot be read, rows with empty values, folds that are not 1 to 5.

    Raises:
        UserError: no table or clips, or a fold without clips.

    Example:
        prepare_esc50(Path("data/ESC-50-master"), Path("runs/data/esc50"))
    """
    skipped: list[Bad] = []
    return write_folds(out, _of_table(root, skipped, only_ten=False), skipped, FOLDS, limit)


def prepare_esc10(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write the manifests of ESC-10: the ten classes of ESC-50's table, or of class folders where there is no table.

    Columns, and what is left out, as of `prepare_esc50`; of class folders also files not named FOLD-SOURCE-TAKE, and
    folders not named `NNN - Name`.

    Raises:
        UserError: neither form is there, or a fold without clips.

    Example:
        prepare_esc10(Path("data/esc10"), Path("runs/data/esc10"))
    """
    skipped: list[Bad] = []
    folders = sorted(path for path in root.iterdir() if path.is_dir() and _CLASS.fullmatch(path.name))
    rows = _of_folders(root, folders, skipped) if folders else _of_table(root, skipped, only_ten=True)
    return write_folds(out, rows, skipped, FOLDS, limit)


def _of_table(root: Path, skipped: list[Bad], only_ten: bool) -> list[Row]:
    chosen_splits(root, ["folds"], {"folds": [_TABLE, "audio"]})
    rows = []
    for found in read_table(root / _TABLE, _NEEDED, skipped):
        reason = empty_values(found, ("filename", "category"))
        file, fold = root / "audio" / found["filename"], found["fold"]
        if reason or fold not in map(str, FOLDS):
            skipped.append((str(file), reason or f"fold {fold!r}, expected 1 to 5"))
        elif not only_ten or found["esc10"].lower() == "true":
            rows.append(_row(file, found["category"], int(fold), found["src_file"]))
    return rows


def _of_folders(root: Path, folders: list[Path], skipped: list[Bad]) -> list[Row]:
    skipped += [
        (str(path), "not a class folder named NNN - Name")
        for path in sorted(root.iterdir())
        if path.is_dir() and path not in folders and not path.name.startswith(".")
    ]
    rows = []
    for folder in folders:
        label = folder.name.partition(" - ")[2].strip().lower().replace(" ", "_")
        for file in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
            match = _CLIP.fullmatch(file.stem)
            if match:
                rows.append(_row(file, label, int(match[1]), match[2]))
            else:
                skipped.append((str(file), "not named FOLD-SOURCE-TAKE"))
    return rows


def _row(file: Path, label: str, fold: int, source: str) -> Row:
    return {"id": file.stem, "audio": file, "label": label, "text": readable(label), "fold": fold, "source": source}
