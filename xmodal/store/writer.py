"""Making a store in parts, by any number of processes; a build that was killed goes on where it was.

The items are cut into batches by a plan that does not depend on the number of processes. Each process writes what it
has made of its batches into files of its own, whole or not at all; when all batches are there, one process puts them
together in the order of ids. So the store is the same for every number of processes, and whoever was killed when.

Axes: n items, m items of a batch or part, G features, S steps of a part.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from xmodal.errors import UserError
from xmodal.files import write_json, written_whole
from xmodal.store.form import FILES, FINGERPRINT, SEQUENCES, VECTORS, map_array, read_json
from xmodal.store.reader import EmbeddingStore

PART_BYTES = 2**26  # of features held in memory before a part is written


class StoreWriter:
    """One process's hand in making a store.

    `ids` [n] int64 ascending without repeats; `fingerprint` holds model, revision, weights, preprocessing and data;
    `plan` names the order and size of the batches. A folder begun with another fingerprint or plan, and a finished
    store, are started over by the process that `claims` it; others join it afterwards. `done` are the numbers of the
    batches that need not be made again, `unusable` the items (position, reason) that those could not read.

    Example:
        with StoreWriter(folder, ids, width, fingerprint, plan) as writer:  # Ctrl-C loses nothing
            for number in [number for number in range(len(batches)) if number not in writer.done]:
                writer.write(number, batches[number], embed(batches[number]))
        store = writer.finish({"torch": torch.__version__})

    Raises:
        UserError: the disk has no room for the rows; files in the folder that no store wrote.
    """

    def __init__(
        self,
        folder: str | Path,
        ids: np.ndarray,
        width: int,
        fingerprint: Mapping[str, Any],
        plan: str,
        *,
        sequences: bool = False,
        claims: bool = True,
        save_every: float = 3.0,  # seconds
    ):
        self.folder, self.ids, self.width, self.sequences = Path(folder), ids, width, sequences
        self.save_every = save_every
        self.fingerprint = {name: fingerprint[name] for name in FINGERPRINT}
        self.version = SEQUENCES if sequences else VECTORS
        self._begun = json.loads(
            json.dumps({"version": self.version, "plan": plan, "width": width, **self.fingerprint})
        )
        if claims and not self._is_begun():
            self._start()
        self.done: set[int] = set()
        self.unusable: list[tuple[int, str]] = []
        for path in self._parts():
            with safe_open(path, "np") as part:
                self.done |= set(part.get_tensor("batches").tolist())
                self.unusable += [(int(at), why) for at, why in json.loads(part.metadata()["unusable"])]
        self._open()

    def _open(self) -> None:
        self._batches: list[int] = []
        self._positions: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._unusable: list[tuple[int, str]] = []
        self._saved = time.monotonic()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def _parts(self) -> list[Path]:
        return sorted((self.folder / "parts").glob("*.safetensors"))

    def _is_begun(self) -> bool:
        """Is the same store being made here, and are its parts whole?"""
        progress = read_json(self.folder / "progress.json")
        if progress is None or progress.get("begun") != self._begun:
            return False
        try:
            if not np.array_equal(map_array(self.folder / "ids.npy", np.int64, self.ids.shape), self.ids):
                return False
        except UserError:
            return False
        for path in self._parts():
            try:
                with safe_open(path, "np") as part:
                    part.get_tensor("batches")
            except (OSError, SafetensorError):
                path.unlink()
        return True

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        began, stored = read_json(self.folder / "progress.json"), read_json(self.folder / "store.json")
        ours = "begun" in (began or {}) or (stored or {}).keys() >= {"version", *FINGERPRINT}
        foreign = [name for name in FILES if (self.folder / name).exists()]
        if foreign and not ours:
            raise UserError(f"{self.folder}: holds {foreign[0]} that no store wrote; choose another folder")
        # First the folder is claimed as ours, then store.json goes: a half-made folder is never taken for a store.
        # Files are removed, not overwritten: a process that still reads the old store keeps its rows.
        write_json(self.folder / "progress.json", {"begun": None})
        for name in ("store.json", "ids.npy", "rows.npy", "frames.npy", "starts.npy"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "parts", ignore_errors=True)
        if not self.sequences:  # parts and rows; how long sequences are nobody knows yet
            self._require_room(2 * len(self.ids) * self.width * 4)
        with written_whole(self.folder / "ids.npy") as beside, beside.open("wb") as file:
            np.save(file, self.ids)
        write_json(self.folder / "progress.json", {"begun": self._begun})

    def _require_room(self, needed: int) -> None:
        """Writing to a memory map on a full disk would end the process without a word."""
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(f"{self.folder}: needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")

    # ------------------------------------------------------------------------------------------------------ making

    def write(
        self,
        batch: int,
        positions: np.ndarray,
        rows: Sequence[np.ndarray] | np.ndarray,
        unusable: Sequence[tuple[int, str]] = (),
    ) -> None:
        """What was made of one batch; it reaches the disk every few seconds.

        Args:
            batch: its number in the plan.
            positions: [m] into ids, of the items that could be read.
            rows: of each, [G]; of sequences [steps, G].
            unusable: (position, reason) of the others.
        """
        self._batches.append(batch)
        self._positions.append(np.asarray(positions, np.int64))
        self._rows += [np.ascontiguousarray(row, np.float16 if self.sequences else np.float32) for row in rows]
        self._unusable += unusable
        self.unusable += unusable
        held = sum(row.nbytes for row in self._rows)
        if time.monotonic() - self._saved >= self.save_every or held >= PART_BYTES:
            self.save()

    def save(self) -> None:
        """Put on disk what was made since the last time."""
        if not self._batches:
            return
        tensors = {
            "batches": np.array(self._batches, np.int64),
            "positions": np.concatenate(self._positions),
            "lengths": np.array([len(row) if self.sequences else 1 for row in self._rows], np.int64),
            "rows": np.concatenate([row.reshape(-1, self.width) for row in self._rows] or [np.empty((0, self.width))]),
        }
        path = self.folder / "parts" / f"{self._batches[0]:08d}.safetensors"
        with written_whole(path) as beside:
            save_file(tensors, beside, {"unusable": json.dumps(self._unusable)})
        self.done |= set(self._batches)
        self._open()

    # --------------------------------------------------------------------------------------------------- finishing

    def finish(self, made: Mapping[str, str], cut: Sequence[Mapping[str, Any]] = ()) -> EmbeddingStore:
        """Put the parts of all processes together and write store.json; the folder is a store from here on.

        Items that could not be read are left out. `made`: versions of the libraries that did. `cut`: reasons, counts
        and examples of items of which the tower did not see all (`Tally.as_dict`).

        Raises:
            UserError: the disk has no room.
        """
        self.save()
        counts = np.zeros(len(self.ids), np.int64)  # steps of each item; 0: could not be read
        for positions, lengths, _ in self._made(with_rows=False):
            counts[positions] = lengths
        kept = counts > 0
        place = np.cumsum(counts) - counts  # where each item's steps begin
        total, dtype = int(counts.sum()), np.float16 if self.sequences else np.float32
        self._require_room(total * self.width * np.dtype(dtype).itemsize)
        name = "frames.npy" if self.sequences else "rows.npy"
        with written_whole(self.folder / name) as beside:
            whole = np.lib.format.open_memmap(beside, mode="w+", dtype=dtype, shape=(total, self.width))
            for positions, lengths, rows in self._made():
                begins = place[positions]
                at = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths) + np.arange(len(rows))
                whole[at] = rows
            whole.flush()
        if self.sequences:
            starts = np.concatenate([place[kept], [total]])
            with written_whole(self.folder / "starts.npy") as beside, beside.open("wb") as file:
                np.save(file, starts)
        with written_whole(self.folder / "ids.npy") as beside, beside.open("wb") as file:
            np.save(file, self.ids[kept])
        info = {"version": self.version, **self.fingerprint, "rows": int(kept.sum()), "width": self.width}
        info |= {"steps": total} if self.sequences else {}
        info |= {"made": dict(made)} | ({"cut": [dict(each) for each in cut]} if cut else {})
        write_json(self.folder / "store.json", info)
        (self.folder / "progress.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "parts", ignore_errors=True)
        return EmbeddingStore.open(self.folder)

    def _made(self, with_rows: bool = True) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(positions, lengths, rows) of every part."""
        for path in self._parts():
            with safe_open(path, "np") as part:
                rows = part.get_tensor("rows") if with_rows else np.empty(0)
                yield part.get_tensor("positions"), part.get_tensor("lengths"), rows
