"""Recordings that come with a `manifest.jsonl`: rows of `id`, `speech` (or `audio`), `text`, `label`, `speaker`, ...

Input: a folder with such a file, its paths relative to the folder. Output: rows with whole paths, others left out.
"""

from pathlib import Path

from xmodal.corpora.audio_manifest import Row
from xmodal.corpora.speech.rows import read_rows
from xmodal.data.unusable import Bad

NAME = "manifest.jsonl"


def read_recorded(root: Path, needed: tuple[str, ...], skipped: list[Bad]) -> tuple[str, list[Row]]:
    """The column of the recordings, `speech` or `audio`, and the rows; those in which a needed value is empty left out.

    Raises:
        UserError: no such file, or a row without one of the columns.

    Example:
        read_recorded(Path("data/speechocean762"), ("text", "speaker", "split"), skipped := [])
    """
    found = read_rows(root / NAME, ("id",))
    column = "audio" if "audio" in found[0] else "speech"
    rows = []
    for row in read_rows(root / NAME, (column, *needed)):
        empty = next((name for name in (column, *needed) if not str(row[name] or "").strip()), None)
        if empty:
            skipped.append((str(row["id"]), f"empty {empty}"))
        else:
            rows.append({**row, "id": str(row["id"]), column: root / str(row[column])})
    return column, rows
