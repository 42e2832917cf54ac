"""Tables that corpora are published with: CSV, and TSV without quotes. Every value stays as written."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.files import split_lines


def read_table(
    path: Path, needed: Sequence[str], skipped: list[Bad], names: Sequence[str] | None = None
) -> list[dict[str, str]]:
    """The rows of a table by the names of its columns, spaces around values cut off.

    A `.tsv` has a row a line, and quotes are letters; anything else is a CSV, with quotes and line feeds inside them.
    A row with more or fewer values than the header is left out, and noted in `skipped`.

    Args:
        path: UTF-8, the first line a header.
        needed: columns that must be there.
        skipped: is told of rows that are left out.
        names: of the columns, whatever the header calls them.

    Raises:
        UserError: no such file, not UTF-8, no rows, or a column missing.

    Example:
        read_table(root / "meta" / "esc50.csv", ("filename", "fold", "category"), skipped := [])
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); expected the table as published") from error
    except OSError as error:
        found = "no such file" if not path.exists() else error.strerror
        raise UserError(f"{path}: {found}; expected the table as published") from error
    lines = _of_tsv(text) if path.suffix == ".tsv" else _of_csv(path, text)
    header = next(iter(lines), (0, []))[1]
    columns = list(names) if names is not None and len(names) == len(header) else header
    missing = [name for name in needed if name not in columns]
    if missing:
        shown = ", ".join(header)[:120] or "an empty file"
        raise UserError(f"{path}: expected columns {', '.join(needed)}; found {shown}; give the table as published")
    rows = []
    for number, values in list(lines)[1:]:
        if len(values) == len(header):
            rows.append(dict(zip(columns, values, strict=True)))
        elif any(values):
            skipped.append((f"{path}: line {number}", f"{len(values)} values, expected {len(header)}"))
    if not rows:
        raise UserError(f"{path}: expected at least one row of {len(header)} values; give the table as published")
    return rows


def empty_values(row: dict[str, str], names: Iterable[str]) -> str | None:
    """Why a row cannot be used where one of these values is empty; None where all are there.

    Example:
        empty_values({"path": "a.mp3", "sentence": ""}, ("path", "sentence"))  # "empty sentence"
    """
    return next((f"empty {name}" for name in names if not row[name]), None)


def _of_tsv(text: str) -> list[tuple[int, list[str]]]:
    return [
        (number, [value.strip() for value in line.split("\t")])
        for number, line in enumerate(split_lines(text), start=1)
        if line.strip()
    ]


def _of_csv(path: Path, text: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    rows = []
    try:
        for values in reader:
            if values:
                rows.append((reader.line_num, [value.strip() for value in values]))
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: not CSV ({error}); give the table as published") from error
    return rows
