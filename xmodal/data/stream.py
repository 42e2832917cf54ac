"""Pairs that are read as they come, for data too large to keep: the hub, tars or parquet files through `datasets`.

Enters: what `data.train` names, with `data.streaming`. Leaves: `PairBatch`es. A stream is shuffled inside a buffer
alone, and going on from step n reads all that came before it again: where there is room, read the data in place.
"""

import itertools
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
from xmodal.data.tar_index import IMAGE_SUFFIXES
from xmodal.data.unusable import Bad, require_usable
from xmodal.errors import UserError
from xmodal.store import content_id

JUDGED = 10_000  # items over which the share of bad ones is judged at least


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
        self.named: set[str] = set()
        self.skipped: list[Bad] = []
        self.start = 0
        self.columns = [column_of(name, spec) for name, spec in self.modalities.items()]
        found = next(iter(self._open(0)), None)
        missing = [name for name in self.columns if found is None or name not in found]
        if missing:
            there = ", ".join(found) if found else "nothing"
            raise UserError(f"{data.train}: missing column {missing[0]!r}; found: {there}")

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
        numbers = range(first, first + len(rows))[self.own]
        table = datasets.Dataset(pa.Table.from_pylist(rows[self.own]))
        path, cache = Path(self.data.train), FeatureCache(0)
        sides = [
            Side(name, at, spec, self.processors[name], read_items(path, table, name, spec), path, cache)
            for at, (name, spec) in enumerate(sorted(self.modalities.items()))
        ]
        names = [str(row["id"]) for row in rows[self.own]]

        def rng(side: Side, row: int) -> np.random.Generator | None:
            return np.random.default_rng((self.seed, epoch, numbers[row], side.number)) if side.is_random else None

        ids = np.fromiter(map(content_id, names), np.int64, len(names))
        return make_batch(sides, range(len(names)), names, ids, None, rng)

    def _open(self, epoch: int) -> Iterator[dict[str, Any]]:
        """The rows of an epoch, shuffled: the columns that are needed, `id` (else the row's number), `label`."""
        stream = open_stream(Path(self.data.train)).shuffle(seed=self.seed, buffer_size=self.data.shuffle_buffer)
        stream.set_epoch(epoch)
        left_out = set(self.data.leave_out_labels)
        for number, row in enumerate(stream):
            row = _named(row)
            if left_out and row.get("label") in left_out:
                continue
            kept = {name: row[name] for name in dict.fromkeys([*self.columns, "label"]) if name in row}
            yield {"id": str(row.get("id", number)), **kept}


def open_stream(path: Path) -> datasets.IterableDataset:
    """A data set as a stream, nothing decoded.

    Raises:
        UserError: not a thing that can be streamed, or it cannot be had.
    """
    tars, parquet = sorted(map(str, path.rglob("*.tar"))), sorted(map(str, path.rglob("*.parquet")))
    try:
        if str(path).startswith("hub:"):
            rest, _, split = str(path).removeprefix("hub:").partition(":")
            place, _, revision = rest.partition("@")
            found = datasets.load_dataset(place, revision=revision or None, split=split or "train", streaming=True)
        elif tars or parquet:
            kind = "webdataset" if tars else "parquet"
            found = datasets.load_dataset(kind, data_files={"train": tars or parquet}, split="train", streaming=True)
        else:
            raise UserError(f"{path}: data.streaming takes hub:NAME or a folder of tars or parquet files; leave it out")
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"{path}: cannot be streamed: {' '.join(str(error).split())[:200]}") from error
    return found.decode(False)


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a webdataset tar under the names of a manifest; any other row as it is."""
    if "__key__" not in row:
        return row
    image = next((value for name, value in row.items() if f".{name}" in IMAGE_SUFFIXES), None)
    named = {"id": row["__key__"], "image": image, "text": row.get("txt")}
    return {name: value for name, value in {**row, **named}.items() if value is not None}
