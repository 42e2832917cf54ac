"""What is known of items besides their embeddings: a manifest's other columns, and the rows a condition leaves.

Texts, numbers, dates and truth values are kept; lists, tables in a cell and bytes are not. A condition is written
`COLUMN=VALUE` (`==` is the same), or with `!=`, `<`, `<=`, `>`, `>=`. A row without a value, or with NaN, meets no
condition. Axes: m rows.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xmodal.errors import UserError

COMPARISONS: dict[str, Callable[..., Any]] = {
    "=": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip

_CONDITION = re.compile(r"(.+?)(!=|<=|>=|==|=|<|>)(.*)", re.DOTALL)


class Condition(NamedTuple):
    """One condition on a column."""

    column: str
    comparison: str  # of COMPARISONS
    value: str

    def __str__(self) -> str:
        return f"{self.column}{self.comparison}{self.value}"


def no_columns() -> pa.Table:
    """What is known of the items of a folder."""
    return pa.table({})


def condition_of(text: str) -> Condition:
    """A condition as it is typed.

    Raises:
        UserError: no comparison in it, or no column before it.

    Example:
        condition_of("speaker=anna")  # Condition("speaker", "=", "anna")
    """
    match = _CONDITION.fullmatch(text)
    if match is None or not match[1].strip():
        raise UserError(f"where: found {text!r}, expected COLUMN=VALUE (or !=, <, <=, >, >= in place of =)")
    return Condition(match[1].strip(), "=" if match[2] == "==" else match[2], match[3].strip())


def value_column(kind: str) -> str:
    """The column of an embeddings file that holds the items themselves: their texts, or their paths."""
    return "text" if kind == "text" else "path"


def kept_columns(table: pa.Table, kind: str, item: str) -> tuple[pa.Table, list[str]]:
    """The columns of a manifest that are kept beside the embeddings, and a line for each that is not.

    Args:
        table: of the manifest.
        kind: of the items: text, audio or image.
        item: the column that holds them.
    """
    kept: dict[str, Any] = {}
    notes = []
    for name in table.column_names:
        if name in ("id", item):
            continue
        found = _plain(table[name])
        if found is None:
            notes.append(f"column {name!r} is left out: {table.schema.field(name).type}, neither text nor number")
        elif name in ("embedding", value_column(kind)):
            notes.append(f"column {name!r} is left out: the file has a column of its own with this name; rename it")
        else:
            kept[name] = found
    return pa.table(kept) if kept else no_columns(), notes


def rows_that_differ(columns: pa.Table, pairs: Sequence[tuple[int, int]]) -> int:
    """How many of some pairs of rows are unlike in a column; what is missing on both sides is alike."""
    if not pairs or not columns.num_columns:
        return 0
    one, other = (columns.take(pa.array(side, pa.int64())) for side in zip(*pairs, strict=True))
    differs = np.zeros(len(pairs), bool)
    for a, b in zip(one.columns, other.columns, strict=True):
        same = pc.equal(a, b).fill_null(False).to_numpy()
        both_missing = pc.and_(a.is_null(), b.is_null()).to_numpy()
        differs |= ~(same | both_missing)
    return int(differs.sum())


def rows_where(columns: pa.Table, conditions: Sequence[Condition]) -> NDArray[np.int64]:
    """The rows [r] that meet every condition, ascending.

    Raises:
        UserError: no such column (the line says which there are), or a value that the column cannot hold.

    Example:
        rows_where(embedded.table(), [condition_of("speaker=anna")])
    """
    passed: Any = None
    for condition in conditions:
        if condition.column not in columns.column_names:
            raise UserError(
                f"where: no column {condition.column!r}; the embeddings have {', '.join(columns.column_names)}"
            )
        kind = columns[condition.column].type
        found = _plain(columns[condition.column])
        if found is None:
            raise UserError(
                f"where: {condition}: the column holds {kind}, neither text nor number; name another column"
            )
        value = _value(condition, found.type)
        if pa.types.is_integer(found.type) and pa.types.is_floating(value.type):
            found = found.cast(pa.float64(), safe=False)  # arrow itself compares none beyond 2^53
        met = COMPARISONS[condition.comparison](found, value).fill_null(False)
        passed = met if passed is None else pc.and_(passed, met)
    return np.flatnonzero(passed.to_numpy()) if passed is not None else np.arange(len(columns))


def _plain(column: Any) -> Any:
    """The column as texts, numbers or truth values, NaN as missing; None where it is none of these."""
    try:
        return _cast(column)
    except pa.ArrowException:  # an interval, a time zone that this machine does not know
        return None


def _cast(column: Any) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column
    if pa.types.is_floating(kind):
        column = column.cast(pa.float32()) if pa.types.is_float16(kind) else column  # arrow compares no float16
        return pc.if_else(pc.is_nan(column), None, column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_temporal(kind):
        return column.cast(pa.large_string())
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    return None


def _value(condition: Condition, kind: Any) -> Any:
    """The typed value as the column's type has it."""
    if pa.types.is_boolean(kind):
        found = {"true": True, "false": False}.get(condition.value.lower())
        if found is None:
            raise UserError(f"where: {condition}: the column is true or false, found {condition.value!r}")
        return pa.scalar(found)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return pa.scalar(condition.value, kind)
    try:
        return pa.scalar((int if pa.types.is_integer(kind) else float)(condition.value), kind)
    except (ValueError, OverflowError):
        pass
    try:
        return pa.scalar(float(condition.value))  # 2.5, or more than the column could hold
    except ValueError:
        raise UserError(f"where: {condition}: the column holds numbers, found {condition.value!r}") from None
