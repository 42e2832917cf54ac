"""The items of one modality, by row of the manifest: one, or several of which one is drawn in every epoch.

Items are texts, paths or bytes, with an id each. Several items in one row are several captions (a list in its column),
or the templates filled with its class name.

Axes: n rows of the manifest, m items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmodal.config.data import ModalitySpec, TextModality
from xmodal.errors import UserError
from xmodal.prompts import class_names, fill, load_templates
from xmodal.store import content_id


@dataclass(frozen=True)
class Items:
    """Row i holds the items first[i] to first[i] + count[i] of `values`."""

    values: pa.Array | pa.ChunkedArray  # [m] strings (texts, paths, addresses in a tar) or the bytes themselves
    ids: np.ndarray  # [m] int64
    first: np.ndarray  # [n] int64
    count: np.ndarray  # [n] int64
    others: pa.Array | None = None  # [n] lists of strings: other wordings of a row's text, taken in its place at times

    def __len__(self) -> int:
        return len(self.first)

    def of(self, row: int) -> slice:
        """Where in `values` a row's items stand."""
        return slice(int(self.first[row]), int(self.first[row] + self.count[row]))

    def rows_lacking(self, known: np.ndarray) -> list[int]:
        """The rows with an item that is not `known`, [m] bool."""
        return [row for row in range(len(self)) if not known[self.of(row)].all()] if not known.all() else []

    def value(self, at: int) -> str | bytes:
        """The item number `at`, as the manifest gives it."""
        found: str | bytes = self.values[at].as_py()
        return found

    def others_of(self, row: int) -> list[str]:
        """The other wordings of a row's text."""
        return [] if self.others is None else list(self.others[row].as_py())

    def without_others(self) -> int:
        """Rows that have no other wording, where there are to be some."""
        return 0 if self.others is None else int((pc.list_value_length(self.others).to_numpy() == 0).sum())


def different(ids: np.ndarray, first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different items of the pairs: [m, 2] where each begins and of how many texts it is; and [n] which is whose.

    Args:
        ids: of all items.
        first, count: [n] the items of each pair; of several (captions, templates) the place tells which they are.
    """
    key = np.stack([np.where(count == 1, ids[first], first), count], axis=1)
    _, at, group = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return np.stack([first[at], count[at]], axis=1), group.reshape(-1)


def column_of(name: str, spec: ModalitySpec) -> str:
    """The manifest column of a modality; for templates over class names, that of the labels."""
    templated = isinstance(spec, TextModality) and spec.templates is not None
    return spec.column or ("label" if templated else name)


def wordings_column(spec: ModalitySpec) -> list[str]:
    """The column of other wordings, where a modality names one."""
    found = spec.augment.alternatives if isinstance(spec, TextModality) else None
    return [] if found is None else [found]


def wordings_of(path: Path, column: str, values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column of other wordings [n], strings or lists of them, as lists; what is null or blank is none.

    Raises:
        UserError: values of another type.
    """
    kind = values.type
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner)):
        raise UserError(f"{path}: column {column!r} holds {kind} values, expected texts, or lists of texts")
    rows = [found if isinstance(found, list) else [found] for found in values.to_pylist()]
    kept = [[text for text in row if text is not None and text.strip()] for row in rows]
    return pa.array(kept, pa.list_(pa.large_string()))


def items_of(
    path: Path, name: str, spec: ModalitySpec, values: pa.Array | pa.ChunkedArray, ids: np.ndarray | None
) -> Items:
    """The items of one modality.

    Args:
        path: of the manifest, as errors name it.
        name: of the modality.
        spec: of the modality.
        values: its column [n].
        ids: [n] int64 of the items where the manifest names them; else the ids of their content.

    Raises:
        UserError: values that are not what the modality is; templates without a name.
    """
    column, kind = column_of(name, spec), values.type
    if isinstance(spec, TextModality) and spec.templates is not None:
        return _templated(path, values.cast(pa.large_string()).to_pylist(), spec)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        if not isinstance(spec, TextModality) or ids is not None:
            raise UserError(
                f"{path}: column {column!r} holds lists; only texts may, and then without a column {name}_id"
            )
        return _captions(path, values, column)
    if pa.types.is_struct(kind):
        values = _contents(path, values, column)
        kind = values.type
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if is_bytes and spec.kind == "text":
        raise UserError(f"{path}: column {column!r} holds bytes, expected strings: {name} is {spec.kind}")
    if not is_bytes:
        values = values.cast(pa.large_string())
    rows = np.arange(len(values))
    if ids is None:
        ids = np.fromiter((content_id(x.as_py()) for x in values), np.int64, len(values))
    return Items(values, ids, rows, np.ones_like(rows))


def _templated(path: Path, labels: Sequence[str], spec: TextModality) -> Items:
    assert spec.templates is not None
    templates = load_templates(spec.templates)
    distinct = sorted(set(labels))
    names = class_names(distinct, spec.names)
    captions = [caption for name in names for caption in fill(templates, name)]
    unwritable = next((text for text in captions if any("\ud800" <= letter <= "\udfff" for letter in text)), None)
    if unwritable is not None:
        raise UserError(f"{spec.names or path}: {unwritable!r} holds half a surrogate pair, which is no text; mend it")
    first_of = {label: number * len(templates) for number, label in enumerate(distinct)}
    first = np.fromiter((first_of[label] for label in labels), np.int64, len(labels))
    ids = np.fromiter(map(content_id, captions), np.int64, len(captions))
    return Items(pa.array(captions, pa.large_string()), ids, first, np.full_like(first, len(templates)))


def _captions(path: Path, values: pa.Array, column: str) -> Items:
    counts = pc.list_value_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise UserError(
            f"{path}: column {column!r} is an empty list in {len(empty)} rows (row {empty[0] + 1}); "
            "remove these rows, or give them a caption"
        )
    flat = pc.list_flatten(values)
    if pa.types.is_nested(flat.type) or pa.types.is_binary(flat.type) or pa.types.is_large_binary(flat.type):
        raise UserError(f"{path}: column {column!r} holds lists of {flat.type} values, expected lists of strings")
    flat = flat.cast(pa.large_string())
    if flat.null_count:
        raise UserError(f"{path}: column {column!r}: {flat.null_count} captions are null; remove them from their lists")
    ids = np.fromiter((content_id(text) for text in flat.to_pylist()), np.int64, len(flat))
    return Items(flat, ids, np.concatenate([[0], counts.cumsum()[:-1]]).astype(np.int64), counts)


def _contents(path: Path, values: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    """The bytes (or, where there are none, the path) out of `datasets`' struct {bytes, path}."""
    names = {field.name for field in values.type}
    if "bytes" not in names:
        raise UserError(f"{path}: column {column!r} is a struct of {', '.join(sorted(names))}, expected bytes and path")
    found = pc.struct_field(values, "bytes")
    if found.null_count == 0 and (pa.types.is_binary(found.type) or pa.types.is_large_binary(found.type)):
        return found
    if found.null_count == 0:
        raise UserError(f"{path}: column {column!r}: its bytes are of type {found.type}, expected binary")
    if found.null_count == len(found) and "path" in names:
        paths = pc.struct_field(values, "path")
        if paths.null_count == 0:
            return paths
    raise UserError(f"{path}: column {column!r}: {found.null_count} of {len(found)} rows have no bytes; remove them")
