"""AudioCaps (Kim et al., NAACL 2019): captions of ten seconds of YouTube; one a clip in train, five in val and test.

Input: the tables (`train.csv`, `val.csv`, `test.csv`, in `ROOT` or `ROOT/dataset/`) and the clips that could still be
had. Output: `OUT/{train,val,test}.jsonl`. Many clips are gone from YouTube, each copy of the corpus lacks others: how
many of how many are there is said, and belongs to every number.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from xmodal.corpora.audio_manifest import Row
from xmodal.corpora.image_manifest import chosen_splits
from xmodal.corpora.sound.captioned import write_captioned
from xmodal.corpora.splits import has_splits
from xmodal.corpora.tables import empty_values, read_table
from xmodal.data.sources.folders import AUDIO
from xmodal.data.unusable import Bad
from xmodal.files import files_under

SPLITS = ("train", "val", "test")

_NEEDED = ("audiocap_id", "youtube_id", "start_time", "caption")

log = logging.getLogger(__name__)


@has_splits(*SPLITS)
def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write a manifest for each split there: train a row a clip, val and test a row a caption (`captioned.py`).

    A clip is looked for anywhere in `ROOT` but in folders of the other splits' names, as `ID_START`, `ID` or `YID` with
    the ending of an audio file. Columns: `id` (YouTube's and the start, `ID_30`), `audio`, `text`, `seconds`; in val
    and test `audio_id`, `text_id`. Left out, and listed: clips that are not there or cannot be read, empty captions.

    Raises:
        UserError: no tables, not in AudioCaps' form, or no clip of a split is there.

    Example:
        prepare(Path("data/audiocaps"), Path("runs/data/audiocaps"), splits=["test"])
    """
    tables = root / "dataset" if (root / "dataset").is_dir() else root
    chosen = chosen_splits(tables, splits, {split: [f"{split}.csv"] for split in SPLITS})
    files = [file for file in files_under(root) if file.suffix.lower() in AUDIO]
    written: dict[Path, int] = {}
    for split in chosen:
        skipped: list[Bad] = []
        of_others = set(SPLITS) - {split}  # of a video that is in two splits the stretches differ
        names = {file.stem: file for file in files if not of_others & set(file.relative_to(root).parts[:-1])}
        captions: dict[tuple[str, str], list[str]] = {}
        for row in read_table(tables / f"{split}.csv", _NEEDED, skipped):
            reason = empty_values(row, ("youtube_id", "start_time", "caption"))
            if reason:
                skipped.append((f"audiocap_id {row['audiocap_id']}", reason))
            else:
                captions.setdefault((row["youtube_id"], row["start_time"]), []).append(row["caption"])
        clips: list[Row] = []
        for (video, start), texts in captions.items():
            there = [names[name] for name in (f"{video}_{start}", video, f"Y{video}") if name in names]
            if there:
                clips.append({"id": f"{video}_{start}", "audio": there[0], "text": texts})
            else:
                skipped.append((f"{video}_{start}", "missing"))
        log.warning("AudioCaps %s: %d of %d clips are there", split, len(clips), len(captions))
        written |= write_captioned(out / f"{split}.jsonl", clips, skipped, limit, by_caption=split != "train")
    return written
