"""The embeddings of a frozen tower, computed once and read from disk by item id.

Enters: rows of features, written batch by batch (`StoreWriter`, resumable). Leaves: a folder anyone can read, and
`EmbeddingStore`, which memory-maps it. Axes: n items of the store, G features, B ids asked for.

    ids.npy        [n] int64, ascending      rows.npy   [n, G] float32, in the order of ids
    store.json     written last: what made the rows; without it the folder is not a store
    progress.json  only while the store is being made: what made it, and how many batches are on disk
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from xmodal.errors import UserError
from xmodal.files import write_json

VERSION = 1
FINGERPRINT = ("model", "revision", "weights", "preprocessing", "data")  # what must agree, cheapest to mend first
WAY_OUT = "run xmodal embed-frozen again"


def content_id(content: str | bytes) -> int:
    """A signed 64-bit name for what an item holds: BLAKE2b, 8 bytes. Equal content, equal id, on every machine.

    Example:
        content_id("turn on the lights") == content_id(b"turn on the lights")
    """
    data = content.encode() if isinstance(content, str) else content
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


def view_id(item: int, view: int, views: int) -> int:
    """The store's name for one of the `views` augmented views of an item; of a single one, the item's own.

    Example:
        view_id(7, 0, 1)  # 7
    """
    return item if views == 1 else content_id(f"{item} view {view}")


def data_digest(ids: np.ndarray, contents: np.ndarray) -> str:
    """What a store holds, in 32 hex digits: over the (item id, content id) pairs in ascending order.

    `ids`, `contents`: [n] int64. The order of the manifest does not matter.
    """
    order = np.lexsort((contents, ids))
    pairs = np.stack([ids[order], contents[order]], axis=1).astype("<i8")
    return hashlib.blake2b(pairs.tobytes(), digest_size=16).hexdigest()


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
        info = _read_json(folder / "store.json") or {}
        sound = all(isinstance(info.get(key), int) for key in ("version", "rows", "width"))
        if not sound or not info.keys() >= set(FINGERPRINT):
            raise UserError(f"{folder}/store.json: not the description of a store; {WAY_OUT}")
        if info["version"] != VERSION:
            raise UserError(f"{folder}/store.json: version {info['version']}, this xmodal reads {VERSION}; {WAY_OUT}")
        ids = _map_array(folder / "ids.npy", np.int64, (info["rows"],))
        rows = _map_array(folder / "rows.npy", np.float32, (info["rows"], info["width"]))
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
    def _search(self) -> "_Search":
        return _Search(self.ids)

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


class _Search:
    """Where ids lie in an ascending array: the leading bits name a short range, a binary search finds the place in it.

    Content ids are spread evenly, so a range holds about 16 of them whatever n is; ids bunched together only make it
    longer, log2(n) steps at worst. With 10 million ids measured at 40 us for 512 of them, np.searchsorted at 790: its
    every step waits for memory. Takes at most n bytes.
    """

    def __init__(self, ids: np.ndarray):
        self.ids = ids
        bits = max(1, (len(ids) // 16).bit_length())
        self.shift, self.half = 64 - bits, 1 << (bits - 1)
        edges = (np.arange(2**bits) - self.half) << self.shift
        self.starts = np.searchsorted(ids, edges)  # [2^bits] first position of each range
        self.longest = int(np.diff(self.starts, append=len(ids)).max())

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """The place of each id [B]; for an id that is not there any valid place."""
        low, length = self.starts[(ids >> self.shift) + self.half], self.longest
        while length > 1:
            step = length // 2
            low += step * (self.ids.take(low + (step - 1), mode="clip") < ids)
            length -= step
        low += self.ids.take(low, mode="clip") < ids
        return np.minimum(low, len(self.ids) - 1)


class StoreWriter:
    """Makes a store batch by batch; killed at any moment, the next writer of the same store goes on where it was.

    `ids` [n] int64 ascending without repeats; `fingerprint` holds model, revision, weights, preprocessing and data;
    `plan` names the order and size of the batches. A folder begun with another fingerprint or plan, and a finished
    store, are started over. `done` says how many batches need not be made again.

    Example:
        with StoreWriter(folder, ids, width, fingerprint, plan) as writer:  # Ctrl-C loses nothing
            for positions in batches[writer.done :]:
                writer.write(positions, embed(positions))
        store = writer.finish({"torch": torch.__version__})

    Raises:
        UserError: the disk has no room for the rows.
    """

    def __init__(
        self,
        folder: str | Path,
        ids: np.ndarray,
        width: int,
        fingerprint: Mapping[str, Any],
        plan: str,
        save_every: float = 3.0,  # seconds
    ):
        self.folder = Path(folder)
        self.shape = (len(ids), width)
        self.fingerprint = {name: fingerprint[name] for name in FINGERPRINT}
        self.save_every = save_every
        self._begun = json.loads(json.dumps({"version": VERSION, "plan": plan, "width": width, **self.fingerprint}))
        resumed = self._resume(ids)
        if resumed is None:
            self._start(ids)
        self.done = resumed or 0
        self._rows = np.lib.format.open_memmap(self.folder / "rows.npy", mode="r+")
        self._saved = time.monotonic()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def _resume(self, ids: np.ndarray) -> int | None:
        progress = _read_json(self.folder / "progress.json")
        if progress is None or progress.get("begun") != self._begun or not isinstance(progress.get("batches"), int):
            return None
        try:
            same = np.array_equal(_map_array(self.folder / "ids.npy", np.int64, (len(ids),)), ids)
            _map_array(self.folder / "rows.npy", np.float32, self.shape)
        except UserError:
            return None
        return progress["batches"] if same else None

    def _start(self, ids: np.ndarray) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        began, stored = _read_json(self.folder / "progress.json"), _read_json(self.folder / "store.json")
        ours = (began or {}).keys() >= {"begun", "batches"} or (stored or {}).keys() >= {"version", *FINGERPRINT}
        foreign = [
            name for name in ("ids.npy", "rows.npy", "store.json", "progress.json") if (self.folder / name).exists()
        ]
        if foreign and not ours:
            raise UserError(f"{self.folder}: holds {foreign[0]} that no store wrote; choose another folder")
        # First the folder is claimed as ours, then store.json goes: a half-made folder is never taken for a store.
        # Files are removed, not overwritten: a process that still reads the old store keeps its rows.
        write_json(self.folder / "progress.json", {"begun": None, "batches": 0})
        for name in ("store.json", "ids.npy", "rows.npy"):
            (self.folder / name).unlink(missing_ok=True)
        needed, free = self.shape[0] * self.shape[1] * 4, shutil.disk_usage(self.folder).free
        if needed > free:  # writing to a memory map on a full disk would end the process without a word
            raise UserError(f"{self.folder}: needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")
        kept = np.lib.format.open_memmap(self.folder / "ids.npy", mode="w+", dtype=np.int64, shape=ids.shape)
        kept[:] = ids
        kept.flush()
        np.lib.format.open_memmap(self.folder / "rows.npy", mode="w+", dtype=np.float32, shape=self.shape).flush()
        write_json(self.folder / "progress.json", {"begun": self._begun, "batches": 0})

    def write(self, positions: np.ndarray, rows: np.ndarray) -> None:
        """One batch: `rows` [B, G] float32 go to `positions` [B] (into ids). Progress is saved every few seconds."""
        self._rows[positions] = rows
        self.done += 1
        if time.monotonic() - self._saved >= self.save_every:
            self.save()

    def save(self) -> None:
        """Put the rows on disk, and then say so in progress.json."""
        self._rows.flush()
        write_json(self.folder / "progress.json", {"begun": self._begun, "batches": self.done})
        self._saved = time.monotonic()

    def finish(self, made: Mapping[str, str]) -> EmbeddingStore:
        """Write store.json, with the versions in `made`; the folder is a store from here on.

        Rows of NaN, items that could not be read, are left out.
        """
        self._rows.flush()
        rows, width = self._drop_nan(), self.shape[1]
        info = {"version": VERSION, **self.fingerprint, "rows": rows, "width": width, "made": dict(made)}
        write_json(self.folder / "store.json", info)
        (self.folder / "progress.json").unlink(missing_ok=True)
        return EmbeddingStore.open(self.folder)

    def _drop_nan(self) -> int:
        """Take rows of NaN out of the files; returns how many are left."""
        starts = range(0, len(self._rows), 65536)
        kept = np.concatenate([~np.isnan(self._rows[at : at + 65536, 0]) for at in starts] or [np.empty(0, bool)])
        if kept.all():
            return len(kept)
        left = int(kept.sum())
        ids = np.load(self.folder / "ids.npy")[kept]
        fresh = np.lib.format.open_memmap(
            self.folder / "rows.npy.kept", mode="w+", dtype=np.float32, shape=(left, self.shape[1])
        )
        for at in starts:
            part = kept[at : at + 65536]
            before = int(kept[:at].sum())
            fresh[before : before + int(part.sum())] = self._rows[at : at + 65536][part]
        fresh.flush()
        np.save(self.folder / "ids.kept.npy", ids)
        (self.folder / "rows.npy.kept").replace(self.folder / "rows.npy")  # now a resumed build would start over
        (self.folder / "ids.kept.npy").replace(self.folder / "ids.npy")
        return left


def _map_array(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """A read-only memory-mapped .npy; never unpickles."""
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())}); {WAY_OUT}") from error
    if mapped.dtype != dtype or mapped.shape != shape or not mapped.flags.c_contiguous:
        raise UserError(
            f"{path}: holds {mapped.dtype} {list(mapped.shape)}, expected {np.dtype(dtype)} {list(shape)}; {WAY_OUT}"
        )
    return np.asarray(mapped)  # a plain view: indexing the memmap class itself is slower


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _show(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
