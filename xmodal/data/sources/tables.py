"""Files of rows (JSONL, CSV, parquet) as arrow tables. Every value that must be a string stays as it was written.

JSONL is parsed here rather than by `Dataset.from_json`, which guesses: a column of dates becomes timestamps, and an
error carries no line number. CSV and parquet are pyarrow's.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from xmodal.errors import UserError
from xmodal.files import read_json_lines

if TYPE_CHECKING:
    import datasets  # late where it is used: 0.4 s that most manifests do not need


def read_csv(path: Path) -> pa.Table:
    """A CSV (or, by its suffix, TSV) with a header; every value stays as written.

    Raises:
        UserError: not a CSV, or a column twice.
    """
    parse = pyarrow.csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True)
    try:
        with pyarrow.csv.open_csv(path, parse_options=parse) as file:
            header = file.schema.names
        twice = [name for name, times in Counter(header).items() if times > 1]
        if twice:
            raise UserError(f"{path}: column {twice[0]!r} occurs twice in its header; rename or remove one")
        types = dict.fromkeys(header, pa.string())
        return pyarrow.csv.read_csv(
            path,
            parse_options=parse,
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""]),
        )
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: not a readable CSV ({reason}); expected a header line") from error


def read_parquet(path: Path) -> pa.Table:
    """A parquet file, class numbers of `datasets` as the classes' names.

    Raises:
        UserError: not a parquet file.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: not a readable parquet file ({reason}); make it again") from error
    if b"huggingface" in (table.schema.metadata or {}):  # written by `datasets`, which alone knows class numbers
        table = named_labels(table, features_of(table.schema))
    return table.replace_schema_metadata(None)


def features_of(schema: pa.Schema) -> "datasets.Features":
    """The columns that `datasets` can hold, as it sees them; maps, unions and the like are none of them."""
    import datasets

    found: dict[str, Any] = {}
    for column in schema:
        try:
            found |= datasets.Features.from_arrow_schema(pa.schema([column], metadata=schema.metadata))
        except (ValueError, TypeError, NotImplementedError):
            continue
    return datasets.Features(found)


def read_jsonl(path: Path, is_text: Callable[[str], bool], media: Sequence[str], hint: str) -> pa.Table:
    """The rows of a JSONL file; a column of mixed types becomes strings.

    Args:
        path: the file.
        is_text: must a column's values be strings?
        media: columns that may hold lists of strings.
        hint: the way out where there is no file, or no row.

    Raises:
        UserError: what `read_json_lines` raises; a list or an object where a string is expected.
    """
    rows = read_json_lines(path, hint)
    for where, row in rows:
        for name in filter(is_text, list(row)):
            if name in media and isinstance(row[name], list):
                row[name] = [_as_text(value) for value in row[name]]
                continue
            if isinstance(row[name], list | dict):
                raise UserError(f"{where}: {name!r} is a {type(row[name]).__name__}, expected a string")
            row[name] = _as_text(row[name])
    return _table([row for _, row in rows], media)


def named_labels(table: pa.Table, features: Mapping[str, Any]) -> pa.Table:
    """A table of `datasets`, its columns of class numbers (or of lists of them) turned into the classes' names."""
    import datasets

    for name, feature in features.items():
        several = isinstance(feature, datasets.List | datasets.LargeList)
        labels = feature.feature if several else feature
        if isinstance(labels, datasets.ClassLabel) and name in table.column_names:

            def named(number: int | None, names: list[str] = labels.names) -> str | None:
                return None if number is None or number < 0 else names[number]

            found = table[name].to_pylist()
            values = [None if row is None else [*map(named, row)] for row in found] if several else [*map(named, found)]
            kind = pa.list_(pa.string()) if several else pa.string()
            table = table.set_column(table.column_names.index(name), name, pa.array(values, kind))
    return table


def _table(rows: list[dict[str, Any]], media: Sequence[str]) -> pa.Table:
    """Rows whose keys may differ, as a table; a column of mixed types becomes strings, in `media` lists of strings."""
    columns = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(name) for row in rows]
        if name in media and any(isinstance(value, list) for value in values):
            values = [value if value is None or isinstance(value, list) else [value] for value in values]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            columns[name] = pa.array([_as_text(value) for value in values])
    return pa.table(columns)


def _as_text(value: Any) -> str | None:
    """A JSON value as it was written; NaN is how pandas writes a missing one."""
    if value is None or value != value:
        return None
    return value if isinstance(value, str) else json.dumps(value)
