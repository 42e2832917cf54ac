"""Queries over stored embeddings: the items nearest to a text, or to an image or a sound.

Input: `EmbeddedItems` and the model that made them, loaded once. Output: an `Answer` for each query, best hit first.
Axes: N items, D embedding, r rows that meet the conditions, k hits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmodal.encoding.encoder import Encoder, Item
from xmodal.errors import UserError
from xmodal.evaluation.embeddings.columns import Condition, rows_where, value_column
from xmodal.evaluation.embeddings.export import EmbeddedItems, read_embeddings
from xmodal.evaluation.embeddings.index_file import VectorIndex, open_index
from xmodal.evaluation.embeddings.index_recall import rescored
from xmodal.evaluation.embeddings.nearest import Nearest, nearest_rows
from xmodal.prompts import is_unicode
from xmodal.report.record import json_ready

FEW = 20_000  # rows that are searched one by one rather than by the index
MOST = 8192  # items that an index is asked for; a query that needs more goes through the rows


@dataclass(frozen=True)
class Hit:
    """An item and its cosine with the query; `value` is its text, or its path under the embeddings' root."""

    id: str
    score: float
    value: str | None
    row: int  # of the embeddings


@dataclass(frozen=True)
class Answer:
    """The hits of one query, and among how many items they were looked for."""

    query: str
    kind: str  # of the query: text, audio or image
    hits: list[Hit]
    searched: int  # items that meet the conditions
    exact: bool  # all of them were compared with the query; else the index was asked


class SearchIndex:
    """Embeddings that are searched many times: loaded once, with the index beside them where there is one.

    Args:
        embedded: what to search.
        index: of the same embeddings.
        notes: why there is no index though a file of one is there.

    Example:
        photos = open_search(Path("photos.parquet"))
        photos.query(encoder, "a dog on a beach", where=["year=2024"]).hits[0].id
    """

    def __init__(self, embedded: EmbeddedItems, index: VectorIndex | None = None, notes: Sequence[str] = ()) -> None:
        self.embedded, self.index, self.notes = embedded, index, tuple(notes)
        self._same: WeakSet[Encoder] = WeakSet()  # models known to have made the embeddings
        self._where: tuple[tuple[Condition, ...], NDArray[np.int64] | None] = (), None  # the last ones, and their rows

    def __len__(self) -> int:
        return len(self.embedded.ids)

    @cached_property
    def _table(self) -> pa.Table:
        """What conditions are about; made when the first one is asked."""
        return self.embedded.table()

    def rows(self, where: Sequence[Condition]) -> NDArray[np.int64] | None:
        """The rows that meet all conditions, ascending; None where there are none to meet.

        Of many queries under the same conditions they are looked for once.
        """
        asked = tuple(where)
        if asked != self._where[0]:
            self._where = asked, rows_where(self._table, asked)
        return self._where[1]

    def require(self, encoder: Encoder) -> None:
        """Raise `UserError` unless this model would make the same embeddings; of each it is found out once."""
        if encoder not in self._same:
            require_same_model(self.embedded, encoder)
            self._same.add(encoder)

    def query(
        self, encoder: Encoder, query: str, modality: str = "text", k: int = 10, where: Sequence[Condition] = ()
    ) -> Answer:
        """The k nearest items that meet all conditions, best first; of equals the earlier one.

        Args:
            encoder: the model that made the embeddings.
            query: a text, or the path of an image or a sound, by what `modality` is.
            modality: of the query.
            k: hits; all items where there are fewer.
            where: conditions on columns, see `condition_of`.

        Raises:
            UserError: embeddings of another model, no such modality or column, a query that is empty, is not
                UTF-8, or cannot be read.
        """
        kind = encoder.kind(modality)
        if not query.strip():
            raise UserError("search: an empty query; say what to look for")
        if kind == "text" and not is_unicode(query):
            raise UserError("search: a query that is not UTF-8; convert it")
        self.require(encoder)
        item: Item = query if kind == "text" else Path(query)
        [z] = encoder.encode(modality, [item], output="numpy")
        (rows, scores), searched, exact = self.nearest(z, k, where)
        e = self.embedded
        hits = [Hit(e.ids[i], float(s), e.values[i], int(i)) for i, s in zip(rows, scores, strict=True)]
        return Answer(query, kind, hits, searched, exact)

    def nearest(self, z: NDArray[np.float32], k: int, where: Sequence[Condition] = ()) -> tuple[Nearest, int, bool]:
        """Rows and cosines of the k nearest to an embedding [D], how many rows were searched, and whether all were.

        What an index finds is scored again with the embeddings. Of a query with conditions it is asked for so many
        items that k should meet them; where fewer do, the rows that meet them are gone through one by one.
        """
        if k < 1:
            raise UserError(f"search: {k} hits asked for, expected 1 or more")
        rows = self.rows(where)
        searched = len(self) if rows is None else len(rows)
        found = self._by_index(z, k, rows, searched)
        if found is not None:
            return found, searched, False
        return nearest_rows(self.embedded.z, z[None], k, rows)[0], searched, True

    def _by_index(
        self, z: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None, searched: int
    ) -> Nearest | None:
        """What the index finds; None where it does not pay, or finds too few of the rows that may be found."""
        if self.index is None or searched <= max(FEW, k):
            return None
        asked = max(self.index.facts.expansion, -(-2 * k * len(self) // searched))
        if asked > MOST:
            return None
        candidates = self.index.candidates(z, asked)
        if rows is not None:
            candidates = candidates[rows[np.searchsorted(rows, candidates).clip(max=len(rows) - 1)] == candidates]
        best, scores = rescored(self.embedded.z, z, candidates)
        return (best[:k], scores[:k]) if len(best) >= k else None


def open_search(path: Path, exact: bool = False) -> SearchIndex:
    """The embeddings of a file, and the index beside it where that is its index; a note says why where it is not.

    Args:
        path: made by `xmodal embed`.
        exact: leave the index where it is.

    Raises:
        UserError: as `read_embeddings`.
    """
    embedded = read_embeddings(path)
    index = None if exact else open_index(path, embedded.z)
    if isinstance(index, str):
        return SearchIndex(embedded, notes=[index])
    return SearchIndex(embedded, index)


def require_same_model(embedded: EmbeddedItems, encoder: Encoder) -> None:
    """Raise `UserError` unless the encoder would make the same embeddings: equal weights and preprocessing."""
    modality = embedded.info["modality"]
    same = modality in encoder.towers and embedded.info["fingerprint"] == encoder.fingerprint(modality)
    if not same:
        raise UserError(
            f"search: the embeddings were made by {embedded.info['model']} ({modality}), not by {encoder.name}: "
            "other weights or preprocessing; search with that model, or make them again with xmodal embed"
        )


def as_json(index: SearchIndex, answer: Answer, where: Sequence[Condition] = ()) -> dict[str, Any]:
    """An answer for programs: what was asked, how it was searched, and the hits with all their columns."""
    embedded = index.embedded
    what = value_column(embedded.kind)
    hits = []
    for hit in answer.hits:
        columns = {name: embedded.columns[name][hit.row].as_py() for name in embedded.columns.column_names}
        hits.append({"id": hit.id, "score": hit.score, what: hit.value, "columns": columns})
    found: dict[str, Any] = json_ready(
        {
            "query": answer.query,
            "kind": answer.kind,
            "where": [str(condition) for condition in where],
            "items": len(index),
            "searched": answer.searched,
            "exact": answer.exact,
            "model": embedded.info["model"],
            "root": embedded.info["root"],
            "hits": hits,
        }
    )
    return found
