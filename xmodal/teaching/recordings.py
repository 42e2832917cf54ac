"""Recordings of people: the user's own, and human speech of other things. Input: manifests. Output: checked rows.

The user's own manifest has speech, text and `split` (train or test), for tests also `label` (an intent) and a column
for each slot that is to be tested. Human speech has speech and text; where it has a `split`, its `train` rows are used.
No recording may be in training and in a test: neither one file nor two files of equal content.
"""

import hashlib
import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from xmodal.data.manifest import read_manifest
from xmodal.errors import UserError
from xmodal.synthesis.phrases import Phrases

Row = dict[str, Any]


@dataclass(frozen=True)
class Recordings:
    """The user's recordings; speech is an absolute path."""

    train: list[Row]
    test: list[Row]


def read_recordings(path: Path, phrases: Phrases) -> Recordings:
    """The user's own recordings.

    Raises:
        UserError: what `read_manifest` raises; an unknown split, intent or value; a test without an intent; a
            recording in both parts.
    """
    table = read_manifest(path, ["speech", "text", "split"])
    parts: dict[str, list[Row]] = {"train": [], "test": []}
    for number, row in enumerate(table, start=1):
        where = f"{path}: row {number} ({row['id']})"
        if row["split"] not in parts:
            raise UserError(f"{where}: split {row['split']!r}, expected train or test")
        label = row.get("label")
        if label is None and row["split"] == "test":
            raise UserError(f"{where}: a test recording without a label; give the intent it has")
        _require_known(f"{where}: label", label, phrases.intents, "intent")
        for slot, values in phrases.slots.items():
            _require_known(f"{where}: {slot}", row.get(slot), values, f"value of ${slot}")
        parts[row["split"]].append(_row(path, row, "mine", phrases) | {"speaker": row.get("speaker")})
    require_apart(parts["train"], parts["test"], str(path))
    return Recordings(parts["train"], parts["test"])


def read_human(path: Path, phrases: Phrases) -> list[Row]:
    """Human speech with transcripts, of whatever is said in it. Raises `UserError` as `read_manifest` does."""
    table = read_manifest(path, ["speech", "text"])
    rows = [row for row in table if row.get("split", "train") == "train"]
    if not rows:
        raise UserError(f"{path}: none of its {len(table)} rows has the split train; nothing to train on")
    return [_row(path, {**row, "label": None}, path.parent.name, phrases, slots=False) for row in rows]


def human_manifest(typed: str) -> Path:
    """The manifest that `--human` means: a path, or a data set's name in the folder that XMODAL_DATA names.

    Raises:
        UserError: neither.
    """
    path, folder = Path(typed), os.environ.get("XMODAL_DATA")
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1 or not folder:
        hint = "" if path.suffix or folder else "; to name a data set alone, set XMODAL_DATA to the folder it is in"
        raise UserError(f"--human: {typed}: no such file, expected a manifest of speech and text{hint}")
    named = Path(folder, typed, "manifest.jsonl")
    if not named.is_file():
        raise UserError(f"--human: {named}: no such file; give the path of a manifest of speech and text")
    return named


def require_apart(train: list[Row], test: list[Row], source: str) -> None:
    """Raise `UserError` where a recording is in both, as a file or as a copy of it."""
    known = {_digest(row["speech"]): row["id"] for row in train}
    for row in test:
        other = known.get(_digest(row["speech"]))
        if other is not None:
            raise UserError(
                f"{source}: the recording {row['speech']} ({row['id']}) is in training too ({other}); a test that was "
                "trained on says nothing: keep it in one of them"
            )


def require_readable(recordings: Recordings, source: Path | None) -> None:
    """Raise `UserError` where the header of a recording shows that it cannot be used: told before minutes of work."""
    from xmodal.data.audio import AudioError, scan_headers  # imports torch

    rows = recordings.train + recordings.test
    found = scan_headers([Path(row["speech"]) for row in rows])
    bad = [(row["id"], error) for row, error in zip(rows, found, strict=True) if isinstance(error, AudioError)]
    if bad:
        name, error = bad[0]
        raise UserError(
            f"{source}: {len(bad)} of {len(rows)} recordings cannot be used, the first {name} ({error}); mend them, or "
            "take their rows out"
        )


def digest_of(path: Path) -> str:
    """SHA-256 of a file, shortened."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _row(path: Path, row: Row, source: str, phrases: Phrases, slots: bool = True) -> Row:
    return {
        "id": f"{source}/{row['id']}",
        "speech": str((path.parent / row["speech"]).resolve()),
        "text": str(row["text"]).lower(),
        "label": row.get("label"),
        "intent": row.get("label"),
        "phrase": None,
        **{slot: row.get(slot) if slots else None for slot in phrases.slots},
    }


def _require_known(where: str, value: Any, known: Any, what: str) -> None:
    if value is not None and value not in known:
        near = get_close_matches(str(value), list(known), n=1)
        raise UserError(
            f"{where}: {value!r} is no {what}; "
            + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")
        )


def _digest(path: str) -> str:
    """Of a recording's content; of what is not there, its path: reading it later says so."""
    try:
        return digest_of(Path(path))
    except OSError:
        return path
