"""STOP (Tomasello et al., SLT 2022): spoken commands of eight domains with a nested parse. The intent is the top one.

Input: `manifests/{train,eval,test}.tsv` and the folders of recordings. Output: `OUT/{train,dev,test}.jsonl`. Who spoke
is not published.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from xmodal.corpora.audio_manifest import Row, write_audio, write_names
from xmodal.corpora.image_manifest import chosen_splits
from xmodal.corpora.splits import has_splits
from xmodal.corpora.tables import empty_values, read_table
from xmodal.data.unusable import Bad

SPLITS = {"train": "train", "dev": "eval", "test": "test"}  # ours -> the corpus'

_NEEDED = ("file_id", "domain", "normalized_utterance", "decoupled_normalized_seqlogical")
_INTENT = re.compile(r"\[IN:(\w+)")


@has_splits(*SPLITS)
def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write a manifest for each split there, and `OUT/names.json`.

    Columns: `id`, `speech`, `text` (the normalised utterance), `label` (the top intent in lower case, `create_alarm`),
    `domain`, `parse`, `gender` and `native` as published, `seconds`. Left out, and listed: recordings that are missing
    or cannot be read, empty utterances, parses without an intent, lines with too few values.

    The tables name `test_0/alarm_test_0/1.wav` what the archive unpacks to `test_0/alarm_test/1.wav`; both are found.

    Raises:
        UserError: tables missing or not in STOP's form.

    Example:
        prepare(Path("data/stop"), Path("runs/data/stop"), splits=["test"])
    """
    root = root / "stop" if (root / "stop" / "manifests").is_dir() else root
    chosen = chosen_splits(root, splits, {split: [f"manifests/{name}.tsv"] for split, name in SPLITS.items()})
    written: dict[Path, int] = {}
    labels: set[str] = set()
    for split in chosen:
        skipped: list[Bad] = []
        table = root / "manifests" / f"{SPLITS[split]}.tsv"
        rows = [_row(root, each, skipped) for each in read_table(table, _NEEDED, skipped)]
        usable = [row for row in rows if row]
        labels |= {row["label"] for row in usable}
        written |= write_audio(out / f"{split}.jsonl", usable, skipped, limit)
    return written | write_names(out / "names.json", labels)


def _row(root: Path, found: dict[str, str], skipped: list[Bad]) -> Row | None:
    intent = _INTENT.match(found["decoupled_normalized_seqlogical"])
    reason = empty_values(found, ("file_id", "normalized_utterance", "domain"))
    if not intent and not reason:
        reason = f"no intent at the top of its parse: {found['decoupled_normalized_seqlogical'][:40]!r}"
    if reason or not intent:
        skipped.append((found["file_id"] or "a row", str(reason)))
        return None
    row = {
        "id": str(Path(found["file_id"]).with_suffix("")),
        "speech": _recording(root, found["file_id"]),
        "text": found["normalized_utterance"],
        "label": intent[1].lower(),
        "domain": found["domain"],
        "parse": found["decoupled_normalized_seqlogical"],
    }
    return row | {name: found[name] for name in ("gender", "native") if found.get(name)}


def _recording(root: Path, name: str) -> Path:
    there = root / name
    unpacked = there.parent.with_name(there.parent.name.removesuffix("_0")) / there.name
    return unpacked if unpacked.exists() and not there.exists() else there
