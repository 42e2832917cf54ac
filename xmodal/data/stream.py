"""Pairs that are read as they come, for data too large to keep: the hub, tars or parquet files through `datasets`.

Enters: what `data.train` names, with `data.streaming`. Leaves: `PairBatch`es. A stream is shuffled inside a buffer
alone, and going on from step n reads all that came before it again: where there is room, read the data in place.
"""

import itertools
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from torch.utils.data import IterableDataset

from xmodal.batch import PairBatch
from xmodal.config.data import DataSpec, ModalitySpec
from xmodal.data.dataset import make_batch
from xmodal.data.items import column_of, read_items
from xmodal.data.side import FeatureCache, ItemProcessor, Side, check_fit
from xmodal.data.sources import hub_parts
from xmodal.data.tar_index import IMAGE_SUFFIXES
from xmodal.data.unusable import Bad, require_usable
from xmodal.errors import UserError
from xmodal.store import content_id

JUDGED = 10_000  # items over which the share of bad ones is judged at least
UNREADABLE = (OSError, ValueError, RuntimeError, tarfile.TarError, datasets.exceptions.DatasetsError)  # sources
LOOKED_AT = 100  # items at the start, for the columns there are


class StreamedPairs(IterableDataset[PairBatch]):
    """The training pairs of a run, streamed. Every process reads the whole stream and keeps its rows of each batch.

    An epoch: shuffle in a buffer of `data.shuffle_buffer` items; cut into batches; drop the rest. Batches are a pure
    function of (seed, step) and the same for every number of processes.

    Raises:
        UserError: neither hub:NAME nor a folder of tars or parquet files, a tower read from a store, a column that is
            not there, fewer items than a batch holds.

    Example:
        pairs = StreamedPairs(config.data, modalities, processors, seed=0, batch_size=256)
        for batch in pairs.iterate_from(0): ...
    """

    def __init__(
        self,
        data: DataSpec,
        modalities: Mapping[str, ModalitySpec],
        processors: Mapping[str, ItemProcessor],
        seed: int,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.data, self.seed, self.batch_size = data, seed, batch_size
        self.modalities, self.processors = dict(modalities), dict(processors)
        for name, spec in modalities.items():
            check_fit(name, spec, processors[name])
            if processors[name].kind == "item_id":
                raise UserError(
                    f"data.streaming: towers.{name} is read from a store, which holds items by id; use it live"
                )
        self.own = slice(rank * batch_size // world, (rank + 1) * batch_size // world)
        if batch_size < world:
            raise UserError(f"train.batch_size: {batch_size} pairs for {world} processes, expected one each at least")
        self.skipped: list[Bad] = []
        self.start = 0
        self.columns = list(dict.fromkeys(column_of(name, spec) for name, spec in self.modalities.items()))
        self._stream, self._classes = open_stream(Path(data.train))
        rows = itertools.islice(_read(Path(data.train), self._stream), LOOKED_AT)
        first = [_named(row, self._classes) for row in rows]
        there = list(dict.fromkeys(name for row in first for name in row))
        missing = [name for name in self.columns if name not in there]
        if missing:
            raise UserError(f"{data.train}: missing column {missing[0]!r}; found: {', '.join(there) or 'nothing'}")
        self.named = {name for name in self.modalities if f"{name}_id" in there}

    def iterate_from(self, step: int) -> "StreamedPairs":
        """The same stream, from step `step` on."""
        other = object.__new__(StreamedPairs)
        other.__dict__.update(self.__dict__, start=step)
        return other

    def require_usable(self, undecodable: Sequence[Bad], read: int) -> None:
        """Raise `UserError` if more than `max_bad` of the items read so far (of 10,000 at least) cannot be used."""
        require_usable(Path(self.data.train), max(read, JUDGED), undecodable, self.data.max_bad, "data.max_bad")

    def __iter__(self) -> Iterator[PairBatch]:
        step = 0
        for epoch in itertools.count():
            before = step
            rows = self._open(epoch)
            while len(batch := list(itertools.islice(rows, self.batch_size))) == self.batch_size:
                if step >= self.start:
                    yield self._batch(batch, epoch, (step - before) * self.batch_size)
                step += 1
            if step == before:
                raise UserError(
                    f"train.batch_size: {self.batch_size} pairs, but {self.data.train} has {len(batch)}; "
                    "set a smaller train.batch_size"
                )

    def _batch(self, rows: list[dict[str, Any]], epoch: int, first: int) -> PairBatch:
        """This process's part of a batch; `first` is the number of its first item in the epoch."""
        own = [(first + at, row) for at, row in enumerate(rows)][self.own]
        bad = [(str(row["id"]), reason) for _, row in own if (reason := self._unusable(row))]
        own = [(number, row) for number, row in own if not self._unusable(row)]
        if not own:  # the others' collectives must still find this process there, and shapes need an item
            raise UserError(f"{self.data.train}: no usable item in a whole batch, first: {bad[0][0]} ({bad[0][1]})")
        numbers = [number for number, _ in own]
        table = datasets.Dataset(pa.Table.from_pylist([row for _, row in own]))
        path, cache = Path(self.data.train), FeatureCache(0)
        sides = [
            Side(name, at, spec, self.processors[name], read_items(path, table, name, spec), path, cache)
            for at, (name, spec) in enumerate(sorted(self.modalities.items()))
        ]
        names = [str(row["id"]) for _, row in own]

        def rng(side: Side, row: int) -> np.random.Generator | None:
            return np.random.default_rng((self.seed, epoch, numbers[row], side.number)) if side.is_random else None

        ids = np.fromiter(map(content_id, names), np.int64, len(names))
        batch = make_batch(sides, range(len(names)), names, ids, None, rng)
        batch.skipped = bad + batch.skipped
        return batch

    def _unusable(self, row: dict[str, Any]) -> str:
        """Why a row cannot be used, as far as can be seen without decoding; "" where it can."""
        for name in self.columns:
            if row[name] is None:
                return f"no {name}"
            values = row[name] if isinstance(row[name], list) else [row[name]]
            if not values or any(value is None or (isinstance(value, str) and not value.strip()) for value in values):
                return f"empty {name}"
        return ""

    def _open(self, epoch: int) -> Iterator[dict[str, Any]]:
        """The rows of an epoch, shuffled: the columns that are needed, `id` (else the row's number), item ids."""
        stream = self._stream.shuffle(seed=self.seed, buffer_size=self.data.shuffle_buffer)
        stream.set_epoch(epoch)
        left_out, seen = set(self.data.leave_out_labels), set()
        for number, raw in enumerate(_read(Path(self.data.train), stream)):
            row = _named(raw, self._classes)
            if left_out:
                seen.add(row.get("label"))
            if left_out and row.get("label") in left_out:
                continue
            kept = {name: row.get(name) for name in self.columns}
            named = {f"{name}_id": row[f"{name}_id"] for name in self.modalities if f"{name}_id" in row}
            yield {"id": str(number if row.get("id") is None else row["id"]), **kept, **named}
        unknown = sorted(left_out - seen)
        if unknown:
            raise UserError(f"data.leave_out_labels: no row of {self.data.train} has the label {unknown[0]!r}")


def open_stream(path: Path) -> tuple[datasets.IterableDataset, dict[str, list[str]]]:
    """A data set as a stream, nothing decoded; and the names behind each column of class numbers.

    Raises:
        UserError: not a thing that can be streamed, or it cannot be had.
    """
    tars, parquet = sorted(map(str, path.rglob("*.tar"))), sorted(map(str, path.rglob("*.parquet")))
    try:
        if str(path).startswith("hub:"):
            found = datasets.load_dataset(**hub_parts(str(path).removeprefix("hub:")), streaming=True)
        elif tars or parquet:
            kind = "webdataset" if tars else "parquet"
            found = datasets.load_dataset(kind, data_files={"train": tars or parquet}, split="train", streaming=True)
        else:
            raise UserError(f"{path}: data.streaming takes hub:NAME or a folder of tars or parquet files; leave it out")
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be streamed: {' '.join(str(error).split())[:200]}") from error
    kinds = found.features or {}
    classes = {name: kind.names for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)}
    return found.decode(False), classes


def _read(path: Path, stream: datasets.IterableDataset) -> Iterator[dict[str, Any]]:
    """The rows; a tar cut short, or a parquet file that is damaged, ends them with one line."""
    rows = iter(stream)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: cannot be read on: {reason}; find and mend or remove the damaged file") from error
        yield row


def _named(row: dict[str, Any], classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A row of a webdataset tar under the names of a manifest; class numbers, in any row, as the classes' names."""
    if "__key__" not in row:
        numbers = {name: row[name] for name in classes if isinstance(row.get(name), int)}
        return {**row, **{name: classes[name][at] if at >= 0 else None for name, at in numbers.items()}}
    images = (value for name, value in row.items() if f".{name.lower()}" in IMAGE_SUFFIXES)
    image = next((value for value in images if value is not None), None)
    label = None if row.get("cls") is None else str(row["cls"])
    named = {"id": row["__key__"], "image": image, "text": row.get("txt"), "label": label}
    return {name: value for name, value in {**row, **named}.items() if value is not None}
