"""JSON lines in and out: what the corpora's text files are, and what a manifest is.

Enters: a corpus file whose rows must hold certain keys. Leaves: rows as dicts; a manifest, written all or not at all.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xmodal.errors import UserError


def read_json_lines(path: Path, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every row of a JSONL file; each must be an object that holds `keys`. Blank lines are passed over.

    Raises:
        UserError: no such file, no row, a line that is no JSON object, or a key missing; with the line number.

    Example:
        read_json_lines(root / "devel.jsonl", ("slurp_id", "sentence"))
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected the corpus as published, unpacked")
    rows: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise UserError(f"{path}: line {number}: found {row!r:.40}, expected a JSON object")
                missing = [key for key in keys if key not in row]
                if missing:
                    raise UserError(f"{path}: line {number}: no {', '.join(missing)}; found {', '.join(row)}")
                rows.append(row)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {number}: not JSON: {error.msg}; is the file complete?") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}") from None
    if not rows:
        raise UserError(f"{path}: empty, expected one JSON object a line")
    return rows


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSONL and return their number. Beside the file first, then moved: a killed run leaves no half.

    Example:
        write_json_lines(out / "test.jsonl", rows)
    """
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(path, text)
    return text.count("\n")


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, all or not at all; makes its folder.

    Example:
        write_text(out / "names.json", json.dumps(names))
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
