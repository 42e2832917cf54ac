"""UrbanSound8K (Salamon et al., ACM MM 2014): 8,732 city sounds of at most four seconds, ten classes, ten folds.

Input: the archive as unpacked (`metadata/UrbanSound8K.csv`, `audio/fold1/` to `fold10/`). Output: manifests for each
fold (`folds.py`). Its authors ask that clips are never mixed and split anew: those of one recording are in one fold.
"""

from pathlib import Path

from xmodal.corpora.audio_manifest import Row
from xmodal.corpora.image_manifest import chosen_splits
from xmodal.corpora.sound.folds import write_folds
from xmodal.corpora.tables import empty_values, read_table
from xmodal.data.unusable import Bad
from xmodal.prompts import readable

FOLDS = range(1, 11)

_TABLE = "metadata/UrbanSound8K.csv"
_NEEDED = ("slice_file_name", "fsID", "salience", "fold", "class")
_SALIENCE = {"1": "foreground", "2": "background"}


def prepare(root: Path, out: Path, limit: int | None = None) -> dict[Path, int]:
    """Write the manifests by folds.

    Columns: `id` (the file's name), `audio`, `label` (`dog_bark`), `text` (the same in words), `fold`, `source` (the
    Freesound recording), `salience` (foreground or background), `seconds`. Left out, and listed: clips that are missing
    or cannot be read, rows with empty values, folds that are not 1 to 10.

    `ROOT` may also be the folder that holds `UrbanSound8K`.

    Raises:
        UserError: no table or clips, or a fold without clips.

    Example:
        prepare(Path("data/UrbanSound8K"), Path("runs/data/urbansound8k"))
    """
    root = root / "UrbanSound8K" if (root / "UrbanSound8K").is_dir() else root
    chosen_splits(root, ["folds"], {"folds": [_TABLE, "audio"]})
    skipped: list[Bad] = []
    rows: list[Row] = []
    for found in read_table(root / _TABLE, _NEEDED, skipped):
        file = root / "audio" / f"fold{found['fold']}" / found["slice_file_name"]
        reason = empty_values(found, ("slice_file_name", "class"))
        if reason or found["fold"] not in map(str, FOLDS):
            skipped.append((str(file), reason or f"fold {found['fold']!r}, expected 1 to 10"))
            continue
        row: Row = {"id": file.stem, "audio": file, "label": found["class"], "text": readable(found["class"])}
        row |= {"fold": int(found["fold"]), "source": found["fsID"]}
        rows.append(row | ({"salience": _SALIENCE[found["salience"]]} if found["salience"] in _SALIENCE else {}))
    return write_folds(out, rows, skipped, FOLDS, limit)
