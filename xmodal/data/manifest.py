"""The manifest: one row per pair. Enters: a path. Leaves: a `datasets.Dataset`, checked.

Forms: JSONL, CSV or parquet; a folder of class folders, of parquet files or of tars; `hub:NAME` (see `sources.py`).
Columns: `id` (unique; JSONL must have it, elsewhere the row's number stands in), one per modality (a text, several
captions as a list, a path relative to the manifest's folder, an image's bytes), and, where there are any, `label`,
`<modality>_id` (the name of the item itself) and others, which are kept as they are.

JSONL is parsed here rather than by `Dataset.from_json`, which guesses: a column of dates becomes timestamps, and an
error carries no line number. Nothing is cached on disk, so a manifest that changes under the same path is read anew.
"""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xmodal.data.sources import named_labels, read_csv, read_folder, read_hub
from xmodal.errors import UserError
from xmodal.files import read_json_lines
from xmodal.store import content_id

MADE_OF = b"xmodal.corpus"  # key of a parquet file's metadata: what `xmodal prepare` made it of, as JSON


def read_manifest(
    path: Path,
    columns: Sequence[str] = (),
    made_by: str | None = None,
    ids: bool = True,
    media: Sequence[str] = (),
) -> datasets.Dataset:
    """Read a manifest and check it; `columns` are needed besides `id` (unless `ids` is false), without null values.

    `id`, `label`, `columns` and every column ending in `_id` come back as strings, exactly as written (`007` and
    `2026-01-31` stay what they are); of the `columns`, those in `media` may hold lists of strings or bytes as well.
    `made_by` is the command that makes the file, named where the file is missing.

    Raises `UserError`: file missing, empty, not JSONL (with the line) or parquet, columns missing (with the nearest
    name), null values, ids that occur twice.

    Example:
        manifest = read_manifest(Path("data/demo/train.jsonl"), ["text", "speech"])
        manifest[0]["text"]
    """
    path = Path(path)
    hint = f"make it with: {made_by}" if made_by else "check the path"
    needed = [*(["id"] if ids else []), *dict.fromkeys(columns)]
    table = _read_table(path, needed, media, hint)
    if not len(table):
        raise UserError(f"{path}: empty, expected at least one row; {hint}")
    if ids and "id" not in table.column_names and path.suffix != ".jsonl":
        table = table.append_column("id", pa.array(map(str, range(len(table))), pa.string()))
    _check_columns(path, table.column_names, needed)
    for name in table.column_names:
        if _is_text(name, needed):
            column = _as_strings(path, table[name], name, name in media)
            table = table.set_column(table.column_names.index(name), name, column)
    _check_values(path, table, needed)
    return datasets.Dataset(table)


def made_of(path: Path) -> dict[str, Any]:
    """What a manifest of `xmodal prepare` says of its making; of any other file, and of a folder, nothing.

    `corpus`, `limit`, `left_out` (the number of items in NAME.skipped.jsonl), `source` (tells when to read the corpus
    again), and where labels, captions or the split come from: the file's name and its sha256.

    Example:
        made_of(Path("data/coco/test.parquet"))["split_file"]  # "dataset_coco.json"
    """
    try:
        made = json.loads((pq.read_metadata(path).metadata or {})[MADE_OF])
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return {}
    return made if isinstance(made, dict) else {}


def root_of(path: Path) -> Path:
    """The folder that a manifest's relative paths start from: its own, or a folder of data itself."""
    return path if path.is_dir() else path.parent


def strings(manifest: datasets.Dataset, column: str) -> pa.LargeStringArray:
    """One column as a single arrow array of strings: compact, and cheap to share with forked workers."""
    chunks = manifest.with_format("arrow")[:][column].cast(pa.large_string())
    return chunks.combine_chunks() if isinstance(chunks, pa.ChunkedArray) else chunks


def item_ids(manifest: datasets.Dataset, modality: str, column: str) -> np.ndarray:
    """The item id of every row, [n] int64: from column `<modality>_id` where there is one, else from the content.

    The content of a text is the string itself, of audio the path as written (hashing the bytes would read the whole
    corpus). Raises `UserError` where `<modality>_id` is null.
    """
    named = f"{modality}_id"
    values = strings(manifest, named if named in manifest.column_names else column)
    if values.null_count:
        raise UserError(
            f"manifest column {named!r}: {values.null_count} of {len(values)} values are null; "
            "name every item, or leave the column out"
        )
    return np.fromiter((content_id(value) for value in values.to_pylist()), np.int64, len(values))


def _read_table(path: Path, needed: Sequence[str], media: Sequence[str], hint: str) -> pa.Table:
    if str(path).startswith("hub:"):
        return read_hub(str(path).removeprefix("hub:"))
    if path.is_dir():
        return read_folder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected a manifest (JSONL, CSV or parquet) or a folder; {hint}")
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if is_parquet:
        return _read_parquet(path)
    return read_csv(path) if path.suffix.lower() in (".csv", ".tsv") else _read_jsonl(path, needed, media, hint)


def _read_parquet(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
        features = datasets.Features.from_arrow_schema(table.schema)  # of `datasets`: names of class numbers
        return named_labels(table, features).replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]}); make it again") from error


def _is_text(name: str, needed: Sequence[str]) -> bool:
    return name in needed or name == "label" or name.endswith("_id")


def _read_jsonl(path: Path, needed: Sequence[str], media: Sequence[str], hint: str) -> pa.Table:
    """The rows of a JSONL file, the values that must be strings as strings."""
    rows = read_json_lines(path, hint)
    for where, row in rows:
        for name in [name for name in row if _is_text(name, needed)]:
            if name in media and isinstance(row[name], list):
                row[name] = [_as_text(value) for value in row[name]]
                continue
            if isinstance(row[name], list | dict):
                raise UserError(f"{where}: {name!r} is a {type(row[name]).__name__}, expected a string")
            row[name] = _as_text(row[name])
    return _table([row for _, row in rows], media)


def _table(rows: list[dict[str, Any]], media: Sequence[str] = ()) -> pa.Table:
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


def _check_columns(path: Path, found: list[str], needed: list[str]) -> None:
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
    if media and (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return column
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise UserError(f"{path}: column {name!r} holds {kind} values, expected strings")
    if pa.types.is_floating(kind):  # a missing value written by pandas
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    return column.cast(pa.string())


def _check_values(path: Path, table: pa.Table, needed: list[str]) -> None:
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
