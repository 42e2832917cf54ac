"""A finished store, read from disk by item id. Axes: n items of the store, G features, B ids asked for."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from xmodal.errors import UserError
from xmodal.store.form import FINGERPRINT, VERSION, WAY_OUT, map_array, read_json
from xmodal.store.search import IdSearch


class EmbeddingStore:
    """A finished store, memory-mapped: opening reads a few kilobytes, `rows` only the rows asked for.

    Example:
        store = EmbeddingStore.open("runs/demo/store")
        features = store.rows(np.array([content_id("turn on the lights")]))  # [1, G] float32
    """

    def __init__(self, folder: Path, info: dict[str, Any], ids: np.ndarray, rows: np.ndarray):
        self.folder = folder
        self.info = info  # store.json
        self.ids = ids  # [n] int64, ascending
        self._rows = rows  # [n, G] float32

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
        if info["version"] != VERSION:
            newer = " (made by a newer xmodal: update this one, or make the store again)" * (info["version"] > VERSION)
            raise UserError(
                f"{folder}/store.json: version {info['version']}, this xmodal reads {VERSION}{newer}; {WAY_OUT}"
            )
        ids = map_array(folder / "ids.npy", np.int64, (info["rows"],))
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

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The rows of these items: ids [B] int64, in any order, repeats allowed -> [B, G] float32, a fresh array.

        Raises:
            UserError: an id the store does not hold.
        """
        ids = np.asarray(ids, dtype=np.int64)
        positions = self._search.positions(ids)
        known = self.ids[positions] == ids
        if not known.all():
            raise UserError(
                f"{self.folder}: holds no item {ids[~known][0]} ({int((~known).sum())} of the {len(ids)} asked for are "
                f"missing); it was made from other data: {WAY_OUT} over this manifest"
            )
        return self._rows.take(positions, axis=0)

    def contains(self, ids: np.ndarray) -> np.ndarray:
        """Which of these items the store holds: ids [B] int64 -> [B] bool."""
        ids = np.asarray(ids, dtype=np.int64)
        return self.ids[self._search.positions(ids)] == ids

    @cached_property
    def _search(self) -> IdSearch:
        return IdSearch(self.ids)

    def all_rows(self) -> np.ndarray:
        """Every row [n, G] in the order of `ids`, memory-mapped and read-only, for what scans the whole store."""
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
