"""Making a store batch by batch; a build that was killed goes on where it was."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xmodal.errors import UserError
from xmodal.files import write_json
from xmodal.store.form import FINGERPRINT, VERSION, map_array, read_json
from xmodal.store.reader import EmbeddingStore


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
        progress = read_json(self.folder / "progress.json")
        if progress is None or progress.get("begun") != self._begun or not isinstance(progress.get("batches"), int):
            return None
        try:
            same = np.array_equal(map_array(self.folder / "ids.npy", np.int64, (len(ids),)), ids)
            map_array(self.folder / "rows.npy", np.float32, self.shape)
        except UserError:
            return None
        return progress["batches"] if same else None

    def _start(self, ids: np.ndarray) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        began, stored = read_json(self.folder / "progress.json"), read_json(self.folder / "store.json")
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

    def finish(self, made: Mapping[str, str], cut: Sequence[Mapping[str, Any]] = ()) -> EmbeddingStore:
        """Write store.json, with the versions in `made`; the folder is a store from here on.

        `cut`: reasons, counts and examples of items of which the tower did not see all (`Tally.as_dict`).

        Rows of NaN, items that could not be read, are left out.
        """
        self._rows.flush()
        rows, width = self._drop_nan(), self.shape[1]
        info = {"version": VERSION, **self.fingerprint, "rows": rows, "width": width, "made": dict(made)}
        info |= {"cut": [dict(each) for each in cut]} if cut else {}
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
