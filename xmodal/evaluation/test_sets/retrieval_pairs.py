"""The pairs that retrieval is scored on: both sides' items, each once, and who belongs to whom.

Input: a manifest. Output: two `Side`s and the pairs between them, [P, 2] (item, text); equal item ids are one item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from xmodal.config.data import as_tested
from xmodal.data.manifest import arrow_column, read_items, read_manifest, root_of, strings
from xmodal.errors import UserError
from xmodal.evaluation.statistics.ranking import Ints
from xmodal.evaluation.test_sets.item_sources import Sources, item_source

if TYPE_CHECKING:
    from xmodal.evaluation.retrieval.retrieval import Retrieval


@dataclass(frozen=True)
class Side:
    """One modality's items, each once: what is encoded, and its name in reports."""

    modality: str
    items: Sources | list[str | Path]
    names: list[str]

    def part(self, rows: Sequence[int]) -> Side:
        """Some of the items, in the order of `rows`."""
        items = self.items.part(rows) if isinstance(self.items, Sources) else [self.items[i] for i in rows]
        return Side(self.modality, items, [self.names[i] for i in rows])

    def files(self) -> list[Path]:
        """The items that are files of their own."""
        if isinstance(self.items, Sources):
            return self.items.files()
        return [item for item in self.items if isinstance(item, Path)]


class Pairs(NamedTuple):
    """Both sides of a test, and who belongs to whom."""

    items: Side
    texts: Side
    pairs: Ints  # [P, 2] (item, text)
    empty: int  # captions missing or empty
    renamed: int  # rows that name something else under an id that was there before: the first is taken


def read_both(spec: Retrieval.Spec, kinds: Mapping[str, str]) -> Pairs:
    """The pairs of the test; `kinds` as `as_tested` takes it.

    An item without a caption is among the items, and in no pair. Of a row with an empty caption the item is kept.

    Raises:
        UserError: the manifest cannot be read, or holds no caption.

    Example:
        read_both(Retrieval.Spec(test="data/coco/test.parquet"), {}).pairs
    """
    if spec.items == spec.text:
        raise UserError(f"{spec.test}: retrieval from {spec.items} to itself; name two modalities as items and text")
    column, captions = spec.column or spec.items, spec.text_column or spec.text
    manifest = read_manifest(spec.test, (column,), media=(column, captions))
    if captions not in manifest.column_names:
        found = ", ".join(manifest.column_names)
        raise UserError(f"{spec.test}: missing column {captions!r}; found: {found}")
    items, of_row, items_renamed = _read_items(spec, manifest, kinds)
    texts, rows, numbers, empty, texts_renamed = _read_texts(spec, manifest, kinds)
    if not len(rows):
        raise UserError(f"{spec.test}: column {captions!r} holds no caption at all; expected texts")
    pairs = np.unique(np.stack([of_row[rows], numbers], axis=1), axis=0)
    return Pairs(items, texts, pairs, empty, items_renamed + texts_renamed)


def renumbered(pairs: Ints, kept_items: Ints, kept_texts: Ints) -> Ints:
    """The pairs of which both sides are kept, by their numbers among these."""
    columns = []
    for column, kept in zip(pairs.T, (kept_items, kept_texts), strict=True):
        number = np.full(int(max(column.max(), kept.max(initial=0))) + 1, -1)
        number[kept] = np.arange(len(kept))
        columns.append(number[column])
    found = np.stack(columns, axis=1)
    return found[(found >= 0).all(1)]


def groups_of(pairs: Ints, items: Side, texts: Side) -> tuple[NDArray, NDArray]:
    """What intervals resample, for every item and every text: what is connected by pairs, named by its first item.

    The captions of one image are such a group, and so are the recordings of one sentence.
    """
    n, m = len(items.items), len(texts.items)
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], n + pairs[:, 1])), shape=(n + m, n + m))
    _, group = connected_components(links, directed=False)
    _, first = np.unique(group, return_index=True)
    names = np.array([items.names[i] if i < n else texts.names[i - n] for i in first], dtype=object)[group]
    return names[:n], names[n:]


def first_positives(found: Side, positives: Ints, counts: Ints) -> list[str]:
    """Of every query the first positive's name and how many more there are."""
    ordered = positives[np.lexsort((positives[:, 1], positives[:, 0]))]
    firsts = ordered[counts.cumsum() - counts, 1]
    return [found.names[i] + (f" (+{c - 1} more)" if c > 1 else "") for i, c in zip(firsts, counts, strict=True)]


def _read_items(spec: Retrieval.Spec, manifest: Any, kinds: Mapping[str, str]) -> tuple[Side, Ints, int]:
    """The items of a manifest (a `datasets.Dataset`), each once, and which of them each row is about."""
    read_as = as_tested(spec.items, kinds).model_copy(update={"column": spec.column})
    found = read_items(spec.test, manifest, spec.items, read_as)
    _, first, of_row = np.unique(found.ids, return_index=True, return_inverse=True)
    order = np.argsort(first)  # as they come in the manifest: the first of equal scores wins
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    firsts = first[order].tolist()
    items = Sources(found, root_of(spec.test), read_as.kind == "text", found.first[firsts])
    named, renamed = f"{spec.items}_id", 0
    if named in manifest.column_names:
        column = strings(manifest, named)
        for row, same in enumerate(first[of_row].tolist()):
            if row != same and found.value(int(found.first[row])) != found.value(int(found.first[same])):
                renamed += 1
        names = [str(column[row].as_py()) for row in firsts]
    elif pa.types.is_large_string(found.values.type):
        names = [str(found.value(row)) for row in firsts]
    else:
        ids = strings(manifest, "id")
        names = [str(ids[row].as_py()) for row in firsts]
    return Side(spec.items, items, names), place[of_row].astype(np.int64), renamed


def _read_texts(spec: Retrieval.Spec, manifest: Any, kinds: Mapping[str, str]) -> tuple[Side, Ints, Ints, int, int]:
    """The texts, each once; the row and the text of every caption; how many are empty; how many are renamed."""
    column, named = arrow_column(manifest, spec.text_column or spec.text), f"{spec.text}_id"
    ids = strings(manifest, named).to_pylist() if named in manifest.column_names else None
    if ids is not None and (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise UserError(
            f"{spec.test}: column {spec.text!r} holds lists beside a column {named}; "
            "one name cannot stand for several texts: leave it out, or write a row per text"
        )
    listed = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    kind = column.type.value_type if listed else column.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        what = f"column {spec.text_column or spec.text!r} holds {column.type} values"
        raise UserError(f"{spec.test}: {what}, expected strings, or lists of strings")
    is_text = as_tested(spec.text, kinds, other="text").kind == "text"
    root = root_of(spec.test)
    place: dict[str, int] = {}
    texts: list[str | Path] = []
    rows, numbers, empty, renamed = [], [], 0, 0
    for row, value in enumerate(column.to_pylist()):
        captions = value if isinstance(value, list) else [value]
        empty += not captions
        for caption in captions:
            text = "" if caption is None else str(caption)
            if not text.strip():
                empty += 1
                continue
            name = text if ids is None or ids[row] is None else ids[row]
            item = text if is_text else cast(str | Path, item_source(text, root))
            if name not in place:
                place[name] = len(texts)
                texts.append(item)
            else:
                renamed += texts[place[name]] != item
            rows.append(row)
            numbers.append(place[name])
    side = Side(spec.text, texts, list(place))
    return side, np.array(rows, np.int64), np.array(numbers, np.int64), empty, renamed
