"""What every manifest must hold: the columns asked for, as strings, without gaps, and ids that name one row each."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmodal.errors import UserError


def is_text(name: str, needed: Sequence[str]) -> bool:
    """Must the values of a column be strings, when `needed` are asked for?"""
    return name in needed or name == "label" or name.endswith("_id")


def checked(path: Path, table: pa.Table, needed: Sequence[str], media: Sequence[str]) -> pa.Table:
    """The table, its ids, labels and the columns `needed` as strings; those in `media` also lists of them, or bytes.

    Raises:
        UserError: columns missing (with the nearest name), null values, ids that occur twice.
    """
    require_columns(path, table.column_names, needed)
    for name in table.column_names:
        if is_text(name, needed):
            column = _as_strings(path, table[name], name, name in media)
            table = table.set_column(table.column_names.index(name), name, column)
    _check_values(path, table, needed)
    return table


def require_columns(path: Path, found: list[str], needed: Sequence[str]) -> None:
    """Raise `UserError` where columns are missing, with the nearest name."""
    missing = [name for name in needed if name not in found]
    if not missing:
        return
    hints = []
    for name in missing:
        nearest = difflib.get_close_matches(name, [f for f in found if f not in needed], n=1)
        hints.append(repr(name) + (f" (did you mean {nearest[0]!r}?)" if nearest else ""))
    raise UserError(f"{path}: missing column {', '.join(hints)}; found: {', '.join(found)}")


def _as_strings(path: Path, column: pa.ChunkedArray, name: str, media: bool) -> pa.ChunkedArray:
    kind = column.type
    odd = pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if odd and media:
        return column
    if odd:
        raise UserError(f"{path}: column {name!r} holds {kind} values, expected strings")
    if pa.types.is_floating(kind):  # a missing value written by pandas
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    return column.cast(pa.string())


def _check_values(path: Path, table: pa.Table, needed: Sequence[str]) -> None:
    for name in needed:
        rows = np.flatnonzero(table[name].is_null().to_numpy(zero_copy_only=False))
        if len(rows):
            where = ", ".join(str(row + 1) for row in rows[:3]) + (", ..." if len(rows) > 3 else "")
            raise UserError(
                f"{path}: column {name!r} is null in {len(rows)} of {len(table)} rows (rows {where}); "
                "fill or remove these rows"
            )
    if "id" not in needed:
        return
    counts = pc.value_counts(table["id"].combine_chunks())
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist()
    if twice:
        shown = ", ".join(repr(value) for value in twice[:3]) + (", ..." if len(twice) > 3 else "")
        raise UserError(f"{path}: {len(twice)} ids occur more than once ({shown}); every pair needs an id of its own")
