"""A finished store, read from disk by item id.

Axes: n items of the store, G features, B ids asked for, S steps of all items together.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from xmodal.errors import UserError
from xmodal.store.form import FINGERPRINT, SEQUENCES, VECTORS, WAY_OUT, map_array, read_json
from xmodal.store.search import IdSearch


class EmbeddingStore:
    """A finished store, memory-mapped: opening reads a few kilobytes, `rows` only the rows asked for.

    Example:
        store = EmbeddingStore.open("runs/demo/store")
        features = store.rows(np.array([content_id("turn on the lights")]))  # [1, G] float32
    """

    def __init__(
        self, folder: Path, info: dict[str, Any], ids: np.ndarray, rows: np.ndarray, starts: np.ndarray | None = None
    ):
        self.folder = folder
        self.info = info  # store.json
        self.ids = ids  # [n] int64, ascending
        self._rows = rows  # [n, G] float32; of sequences [S, G] float16
        self._starts = starts  # [n + 1] int64, of sequences

    @classmethod
    def open(cls, folder: str | Path) -> "EmbeddingStore":
        """Open a finished store.

        Raises:
            UserError: no store there, an unfinished one, or files that do not agree with its store.json.
        """
        folder = Path(folder)
        if not (folder / "store.json").is_file():
            found = "an unfinished store" if (folder / "progress.json").is_file() else "no store there (no store.json)"
            raise UserError(f"{folder}: {found}; run xmodal embed-frozen to make it")
        info = read_json(folder / "store.json") or {}
        sound = all(isinstance(info.get(key), int) for key in ("version", "rows", "width"))
        if not sound or not info.keys() >= set(FINGERPRINT):
            raise UserError(f"{folder}/store.json: not the description of a store; {WAY_OUT}")
        if info["version"] not in (VECTORS, SEQUENCES):
            newer = info["version"] > SEQUENCES
            hint = " (made by a newer xmodal: update this one, or make the store again)" if newer else ""
            raise UserError(
                f"{folder}/store.json: version {info['version']}, this xmodal reads up to {SEQUENCES}{hint}; {WAY_OUT}"
            )
        ids = map_array(folder / "ids.npy", np.int64, (info["rows"],))
        if info["version"] == SEQUENCES:
            if not isinstance(info.get("steps"), int):
                raise UserError(f"{folder}/store.json: not the description of a store; {WAY_OUT}")
            frames = map_array(folder / "frames.npy", np.float16, (info["steps"], info["width"]))
            starts = map_array(folder / "starts.npy", np.int64, (info["rows"] + 1,))
            if starts[0] != 0 or starts[-1] != info["steps"] or (np.diff(starts) < 1).any():
                raise UserError(f"{folder}/starts.npy: does not fit frames.npy; {WAY_OUT}")
            return cls(folder, info, ids, frames, starts)
        rows = map_array(folder / "rows.npy", np.float32, (info["rows"], info["width"]))
        return cls(folder, info, ids, rows)

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        # a memory map pickles as its whole content; workers open the folder instead
        return EmbeddingStore.open, (self.folder,)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def width(self) -> int:
        """G, the number of features of a row."""
        return self._rows.shape[1]

    @property
    def sequences(self) -> bool:
        """Does it hold a sequence for each item, rather than a vector?"""
        return self._starts is not None

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The rows of these items: ids [B] int64, in any order, repeats allowed -> [B, G] float32, a fresh array.

        Raises:
            UserError: an id the store does not hold.
        """
        return self._rows.take(self._positions(ids), axis=0)

    def frames(self, item: int) -> np.ndarray:
        """The steps of one item, in a store of sequences: [T, G] float16, memory-mapped and read-only.

        Raises:
            UserError: an id the store does not hold.
        """
        assert self._starts is not None
        position = int(self._positions(np.array([item]))[0])
        return self._rows[self._starts[position] : self._starts[position + 1]]

    def lengths(self, ids: np.ndarray) -> np.ndarray:
        """Steps of each item, in a store of sequences: ids [B] int64 -> [B] int64; 0 for one it does not hold."""
        assert self._starts is not None
        ids = np.asarray(ids, dtype=np.int64)
        positions = self._search.positions(ids)
        found = self._starts[positions + 1] - self._starts[positions]
        return np.where(self.ids[positions] == ids, found, 0)

    def _positions(self, ids: np.ndarray) -> np.ndarray:
        """Where these ids stand [B]. Raises `UserError` for one the store does not hold."""
        ids = np.asarray(ids, dtype=np.int64)
        positions = self._search.positions(ids)
        known = self.ids[positions] == ids
        if not known.all():
            raise UserError(
                f"{self.folder}: holds no item {ids[~known][0]} ({int((~known).sum())} of the {len(ids)} asked for are "
                f"missing); it was made from other data: {WAY_OUT} over this manifest"
            )
        return positions

    def contains(self, ids: np.ndarray) -> np.ndarray:
        """Which of these items the store holds: ids [B] int64 -> [B] bool."""
        ids = np.asarray(ids, dtype=np.int64)
        return self.ids[self._search.positions(ids)] == ids

    @cached_property
    def _search(self) -> IdSearch:
        return IdSearch(self.ids)

    def all_rows(self) -> np.ndarray:
        """Every row [n, G] in the order of `ids` (of sequences every step [S, G]), memory-mapped and read-only."""
        return self._rows

    def check(self, expected: Mapping[str, Any]) -> None:
        """Refuse a store that was made otherwise than `expected` (model, revision, weights, preprocessing, data).

        Raises:
            UserError: one line for each of them that differs: found, expected, the way out.
        """
        lines = []
        for name in FINGERPRINT:
            found, asked = self.info.get(name), json.loads(json.dumps(expected[name]))
            if found == asked:
                continue
            if name == "data":
                lines.append(
                    f"{self.folder}: made from other data (digest {found}) than the config's manifest has now "
                    f"({asked}); {WAY_OUT}"
                )
                continue
            if isinstance(found, dict) and isinstance(asked, dict):  # name the one setting that differs
                key = next(k for k in (*asked, *found) if found.get(k, ...) != asked.get(k, ...))
                name, found, asked = f"{name} {key}", found.get(key), asked.get(key)
            lines.append(
                f"{self.folder}: made with {name} {_show(found)}, the config asks for {_show(asked)}; {WAY_OUT}"
            )
        if lines:
            raise UserError("\n".join(lines))


def _show(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
