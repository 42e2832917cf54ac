"""Fluent Speech Commands (Lugosch et al., Interspeech 2019): 30,043 commands, 97 speakers, 31 intents of three slots.

Input: `data/{train,valid,test}_data.csv` and `wavs/`. Output: `OUT/{train,dev,test}.jsonl`. The official splits share
no speaker, but phrasings: the column `seen` says which sentences of a test occur in training.
"""

from collections.abc import Sequence
from pathlib import Path

from xmodal.corpora.audio_manifest import Row, write_audio, write_names
from xmodal.corpora.group_split import mark_seen
from xmodal.corpora.image_manifest import chosen_splits
from xmodal.corpora.splits import has_splits
from xmodal.corpora.tables import empty_values, read_table
from xmodal.data.unusable import Bad

SPLITS = {"train": "train_data.csv", "dev": "valid_data.csv", "test": "test_data.csv"}
SLOTS = ("action", "object", "location")

_NEEDED = ("path", "speakerId", "transcription", *SLOTS)


@has_splits(*SPLITS)
def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write a manifest for each split there, and `OUT/names.json`.

    Columns: `id` (the file's name), `speech`, `text`, `speaker`, `label` (action, object and location joined by `_`),
    `action`, `object`, `location`, `seconds`; in dev and test `seen` (the words occur in training), where train is
    prepared too. A label's readable name leaves out slots that are "none". Left out, and listed: recordings that are
    missing or cannot be read, rows with an empty transcription, speaker or slot.

    Raises:
        UserError: tables missing or not in the corpus' form.

    Example:
        prepare(Path("data/fluent_speech_commands_dataset"), Path("runs/data/fluent_speech_commands"))
    """
    chosen = chosen_splits(root, splits, {split: [f"data/{name}"] for split, name in SPLITS.items()})
    rows: dict[str, list[Row]] = {}
    skipped: dict[str, list[Bad]] = {split: [] for split in chosen}
    for split in chosen:
        found = read_table(root / "data" / SPLITS[split], _NEEDED, skipped[split])
        rows[split] = [row for row in (_row(root, each, skipped[split]) for each in found) if row]
    written: dict[Path, int] = {}
    for split in chosen:
        if split != "train" and "train" in rows:
            mark_seen(rows[split], rows["train"], f"Fluent Speech Commands {split}")
        written |= write_audio(out / f"{split}.jsonl", rows[split], skipped[split], limit)
    names = {row["label"]: _readable(row) for split in chosen for row in rows[split]}
    return written | write_names(out / "names.json", names, names)


def _row(root: Path, found: dict[str, str], skipped: list[Bad]) -> Row | None:
    reason = empty_values(found, _NEEDED)
    if reason:
        skipped.append((found["path"] or "a row", reason))
        return None
    return {
        "id": Path(found["path"]).stem,
        "speech": root / found["path"],
        "text": found["transcription"],
        "speaker": found["speakerId"],
        "label": "_".join(found[slot] for slot in SLOTS).replace(" ", "_"),
        **{slot: found[slot] for slot in SLOTS},
    }


def _readable(row: Row) -> str:
    return " ".join(row[slot] for slot in SLOTS if row[slot] != "none")
