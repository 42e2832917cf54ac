"""The items of one modality, by row of the manifest: one, or several of which one is drawn in every epoch.

Enters: a manifest and a modality's spec. Leaves: `Items`: texts, paths or bytes, with an id each. Several items in one
row are several captions (a list in its column), or the templates filled with its class name.

Axes: n rows of the manifest, m items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmodal.config.data import ModalitySpec, TextModality
from xmodal.data.manifest import item_ids, read_manifest, strings
from xmodal.errors import UserError
from xmodal.prompts import class_names, fill, load_templates
from xmodal.store import content_id


@dataclass(frozen=True)
class Items:
    """Row i holds the items first[i] to first[i] + count[i] of `values`."""

    values: pa.Array | pa.ChunkedArray  # [m] strings (texts, paths, places in a tar) or binary (the bytes themselves)
    ids: np.ndarray  # [m] int64
    first: np.ndarray  # [n] int64
    count: np.ndarray  # [n] int64

    def __len__(self) -> int:
        return len(self.first)

    def of(self, row: int) -> slice:
        """The places of a row's items."""
        return slice(int(self.first[row]), int(self.first[row] + self.count[row]))

    def value(self, place: int) -> str | bytes:
        """One item as the manifest gives it."""
        found: str | bytes = self.values[place].as_py()
        return found


def column_of(name: str, spec: ModalitySpec) -> str:
    """The manifest column of a modality; for templates over class names, that of the labels."""
    templated = isinstance(spec, TextModality) and spec.templates is not None
    return spec.column or ("label" if templated else name)


def read_pairs(
    path: Path, modalities: dict[str, ModalitySpec], made_by: str | None = None
) -> tuple[datasets.Dataset, dict[str, Items]]:
    """A manifest and the items of its modalities.

    Raises:
        UserError: what `read_manifest` raises; values that are not what the modality is; templates without a name.
    """
    columns = {name: column_of(name, spec) for name, spec in modalities.items()}
    manifest = read_manifest(path, list(columns.values()), made_by, media=list(columns.values()))
    return manifest, {name: read_items(path, manifest, name, spec) for name, spec in modalities.items()}


def read_items(path: Path, manifest: datasets.Dataset, name: str, spec: ModalitySpec) -> Items:
    """The items of one modality; `path` is what an error names."""
    column = column_of(name, spec)
    values = arrow_column(manifest, column)
    kind = values.type
    if isinstance(spec, TextModality) and spec.templates is not None:
        return _templated(strings(manifest, column).to_pylist(), spec)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        if not isinstance(spec, TextModality) or f"{name}_id" in manifest.column_names:
            raise UserError(
                f"{path}: column {column!r} holds lists; only texts may, and then without a column {name}_id"
            )
        return _captions(path, values, column)
    if pa.types.is_struct(kind):
        values = _pictures(path, values, column)
        kind = values.type
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if is_bytes and spec.kind != "image":
        raise UserError(f"{path}: column {column!r} holds bytes, expected strings: {name} is {spec.kind}")
    if not is_bytes:
        values = values.cast(pa.large_string())
    rows = np.arange(len(values))
    if f"{name}_id" in manifest.column_names:
        ids = item_ids(manifest, name, column)
    else:
        ids = np.fromiter((content_id(x.as_py()) for x in values), np.int64, len(values))
    return Items(values, ids, rows, np.ones_like(rows))


def arrow_column(manifest: datasets.Dataset, column: str) -> pa.Array | pa.ChunkedArray:
    """One column as it is; of bytes the chunks they lie in, memory-mapped or not: together they may be too large."""
    found = manifest.data.table[column] if manifest._indices is None else manifest.with_format("arrow")[:][column]
    whole = pa.types.is_struct(found.type) or pa.types.is_binary(found.type) or pa.types.is_large_binary(found.type)
    return found if whole or not isinstance(found, pa.ChunkedArray) else found.combine_chunks()


def _templated(labels: Sequence[str], spec: TextModality) -> Items:
    assert spec.templates is not None
    templates = load_templates(spec.templates)
    distinct = sorted(set(labels))
    names = class_names(distinct, spec.names)
    captions = [caption for name in names for caption in fill(templates, name)]
    place = {label: number * len(templates) for number, label in enumerate(distinct)}
    first = np.fromiter((place[label] for label in labels), np.int64, len(labels))
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


def _pictures(path: Path, values: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
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
        places = pc.struct_field(values, "path")
        if places.null_count == 0:
            return places
    raise UserError(f"{path}: column {column!r}: {found.null_count} of {len(found)} images have no bytes; remove them")
