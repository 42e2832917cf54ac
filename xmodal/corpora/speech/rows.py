"""What the readers of JSONL corpora share: rows that hold the keys a corpus is published with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xmodal.errors import UserError
from xmodal.files import read_json_lines


def read_rows(path: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Every row of a JSONL file of a corpus.

    Raises:
        UserError: see `read_json_lines`; or a row lacks one of `keys`.

    Example:
        read_rows(root / "devel.jsonl", ("slurp_id", "sentence"))
    """
    rows = read_json_lines(path, hint="give the corpus as published, unpacked and complete")
    for where, row in rows:
        missing = [key for key in keys if key not in row]
        if missing:
            raise UserError(f"{where}: no {', '.join(missing)}; found {', '.join(row)}")
    return [row for _, row in rows]
