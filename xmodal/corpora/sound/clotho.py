"""Clotho (Drossos et al., ICASSP 2020): sounds of 15 to 30 seconds, five captions each.

Input: `clotho_captions_{development,validation,evaluation}.csv` and the folders of the recordings. Output:
`OUT/{train,dev,test}.jsonl`.
"""

from collections.abc import Sequence
from pathlib import Path

from xmodal.corpora.audio_manifest import Row, required_folder
from xmodal.corpora.image_manifest import chosen_splits
from xmodal.corpora.sound.captioned import write_captioned
from xmodal.corpora.splits import has_splits
from xmodal.corpora.tables import read_table
from xmodal.data.unusable import Bad

SPLITS = {"train": "development", "dev": "validation", "test": "evaluation"}  # ours -> the corpus'

_CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


@has_splits(*SPLITS)
def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write a manifest for each split there: train a row a clip, dev and test a row a caption (`captioned.py`).

    Columns: `id` (the file's name), `audio`, `text`, `seconds`; in dev and test `audio_id`, `text_id`. Left out, and
    listed: recordings that are missing or cannot be read, empty captions, clips without any.

    Raises:
        UserError: tables or recordings missing, or not in Clotho's form.

    Example:
        prepare(Path("data/clotho"), Path("runs/data/clotho"), splits=["test"])
    """
    tables = {split: f"clotho_captions_{name}.csv" for split, name in SPLITS.items()}
    written: dict[Path, int] = {}
    for split in chosen_splits(root, splits, {split: [table] for split, table in tables.items()}):
        name = SPLITS[split]
        places = (name, f"clotho_audio_files/{name}", f"clotho_audio_{name}/{name}", f"clotho_audio_{name}")
        folder = required_folder(root, places, f"Clotho's recordings, clotho_audio_{name}.7z unpacked")
        skipped: list[Bad] = []
        clips: list[Row] = []
        for found in read_table(root / tables[split], ("file_name", *_CAPTIONS), skipped):
            file = folder / found["file_name"]
            texts = [found[key] for key in _CAPTIONS if found[key]]
            skipped += [(f"{file}: {key}", "empty caption") for key in _CAPTIONS if not found[key]]
            if texts and found["file_name"]:
                clips.append({"id": file.stem, "audio": file, "text": texts})
        written |= write_captioned(out / f"{split}.jsonl", clips, skipped, limit, by_caption=split != "train")
    return written
