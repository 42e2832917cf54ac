"""Transcripts of recordings, kept beside a run: what one evaluation has transcribed is not transcribed by the next.

Input: recordings and what a recogniser heard. Output: `FOLDER/MODEL/*.jsonl`, where MODEL stands for the recogniser's
name and the state of its files. A recording is known by its path, size and time of change, or by its bytes.
"""

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xmodal.encoding.embedding_cache import digest_of, item_keys
from xmodal.files import written_whole

log = logging.getLogger(__name__)


class Transcript(NamedTuple):
    """What was heard, and how long hearing it alone took; no time where it was heard among others."""

    text: str
    seconds: float | None = None


class TranscriptCache:
    """A folder of one recogniser's transcripts.

    Args:
        folder: of all recognisers.
        model: as a config names it: a folder, whose files count by their state, or another name.

    Example:
        kept = TranscriptCache(Path("runs/demo/embeddings/transcripts"), "openai/whisper-tiny.en")
        kept.find([Path("a.wav")])  # {} or {0: Transcript("play some music")}
    """

    def __init__(self, folder: Path, model: str) -> None:
        found = Path(model)
        files = sorted(file for file in found.rglob("*") if file.is_file()) if found.is_dir() else []
        self.folder = folder / digest_of(model, files)

    def find(self, items: Sequence[Any]) -> dict[int, Transcript]:
        """Those of the items that are there, by position; damaged lines are passed over."""
        keys = item_keys(items)
        if keys is None:
            return {}
        known: dict[int, Transcript] = {}
        for file in sorted(self.folder.glob("*.jsonl")):
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            known |= dict(row for line in lines if (row := _row(line)) is not None)
        return {at: known[key] for at, key in enumerate(keys.tolist()) if key in known}

    def add(self, items: Sequence[Any], heard: Mapping[int, Transcript]) -> None:
        """Keep the transcripts of some items, by position; where they cannot be written, say so and go on."""
        keys = item_keys(items)
        if keys is None or not heard:
            return
        rows = [{"key": int(keys[at]), "text": found.text, "seconds": found.seconds} for at, found in heard.items()]
        try:
            with written_whole(self.folder / f"{uuid.uuid4().hex}.jsonl") as beside:
                beside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        except OSError as error:
            log.warning("%s: transcripts are not kept (%s); give another folder", self.folder, error.strerror or error)


def _row(line: str) -> tuple[int, Transcript] | None:
    try:
        row = json.loads(line)
        seconds = row["seconds"]
        if not isinstance(row["key"], int) or not isinstance(row["text"], str):
            return None
        return row["key"], Transcript(row["text"], None if seconds is None else float(seconds))
    except (ValueError, KeyError, TypeError):
        return None
