"""Reading a run's JSONL files back: metrics.jsonl, skipped.jsonl. A half-written last line is left out."""

import json
from pathlib import Path
from typing import Any

from xmodal.files import write_json_lines


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    return read_lines(folder / "metrics.jsonl")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file, none where there is no file; a half-written last line is left out."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict):
                rows.append(row)
    return rows


def truncate_metrics(folder: Path, step: int, evaluated: bool = True) -> None:
    """Drop what was logged after `step`, and with `evaluated` false its evaluation: a resumed run logs them again."""
    path = folder / "metrics.jsonl"

    def stays(row: dict[str, Any]) -> bool:
        at = row.get("step", step)
        return at < step or (at == step and (evaluated or not any(key.startswith("eval/") for key in row)))

    if path.exists():
        write_json_lines(path, [row for row in read_metrics(folder) if stays(row)])
