"""Pairs that are read as they come, for data too large to keep: local tars in place, parquet and the hub by `datasets`.

Enters: what `data.train` names, with `data.streaming`. Leaves: `PairBatch`es. A stream is shuffled inside a buffer
alone, and going on from step n reads all that came before it again: where there is room, read the data in place.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from torch.utils.data import IterableDataset

from xmodal.batch import NO_LABEL, PairBatch
from xmodal.config.data import DataSpec, ModalitySpec
from xmodal.data.dataset import make_batch
from xmodal.data.items import column_of, read_items
from xmodal.data.side_reader import FeatureCache, SideReader, check_fit
from xmodal.data.sources.streamed import OUT, name_of, named_row, open_stream, present, read_stream
from xmodal.data.unusable import Bad, listed, require_usable
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.store import content_id

JUDGED = 10_000  # items over which the share of bad ones is judged at least
LOOKED_AT = 100  # items at the start, for the columns there are
LEFT_OUT = "left out: "  # begins the reason where an item never came into a batch


class StreamedPairs(IterableDataset[PairBatch]):
    """The training pairs of a run, streamed. Every process reads the whole stream and keeps its rows of each batch.

    An epoch: shuffle in a buffer of `data.shuffle_buffer` items; leave out those that can be seen to be unusable; cut
    into batches; drop the rest. Batches are a pure function of (seed, step) and the same for every number of processes.
    What was left out is in `skipped` of the next batch, that of rank 0.

    Raises:
        UserError: neither hub:NAME nor a folder of tars or parquet files, a tower read from a store, a column that is
            not there, fewer items than a batch holds, too many that are left out.

    Example:
        pairs = StreamedPairs(config.data, modalities, processors, seed=0, batch_size=256)
        for batch in pairs.iterate_from(0): ...
    """

    def __init__(
        self,
        data: DataSpec,
        modalities: Mapping[str, ModalitySpec],
        processors: Mapping[str, Processor],
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
        self.rank = rank
        self.own = slice(rank * batch_size // world, (rank + 1) * batch_size // world)
        if batch_size < world:
            raise UserError(f"train.batch_size: {batch_size} pairs for {world} processes, expected one each at least")
        self.skipped: list[Bad] = []
        self.start = 0
        self.columns = list(dict.fromkeys(column_of(name, spec) for name, spec in self.modalities.items()))
        self._stream, self._classes = open_stream(Path(data.train))
        there = self._columns()
        missing = [name for name in self.columns if name not in there]
        if missing:
            raise UserError(f"{data.train}: missing column {missing[0]!r}; found: {', '.join(there) or 'nothing'}")
        self.named = {name for name in self.modalities if f"{name}_id" in there}
        self._kept = list(dict.fromkeys([*self.columns, *(f"{name}_id" for name in sorted(self.named))]))

    def iterate_from(self, step: int) -> "StreamedPairs":
        """The same stream, from step `step` on."""
        other = object.__new__(StreamedPairs)
        other.__dict__.update(self.__dict__, start=step)
        return other

    def require_usable(self, undecodable: Sequence[Bad], read: int) -> None:
        """Raise `UserError` if more than `max_bad` of the items read so far (of 10,000 at least), or all, are unusable.

        Args:
            undecodable: each once, also those that were left out and came into no batch.
            read: items in the batches so far.
        """
        inside = sum(not reason.startswith(LEFT_OUT) for _, reason in undecodable)
        total = read + len(undecodable) - inside
        least = total if inside >= read else JUDGED
        require_usable(Path(self.data.train), max(total, least), undecodable, self.data.max_bad, "data.max_bad")

    def __iter__(self) -> Iterator[PairBatch]:
        step = 0
        bad: dict[str, str] = {}  # left out since the last batch
        for epoch in itertools.count():
            before = step
            rows: list[dict[str, Any]] = []
            for row in self._open(epoch):
                if OUT in row:
                    bad[row["id"]] = row[OUT]
                    if len(bad) % self.batch_size == 0:
                        self.require_usable(list(bad.items()), step * self.batch_size + len(rows))
                    continue
                rows.append(row)
                if len(rows) < self.batch_size:
                    continue
                if step >= self.start:
                    batch = self._batch(rows, epoch, (step - before) * self.batch_size)
                    batch.skipped = [*(bad.items() if self.rank == 0 else ()), *batch.skipped]
                    yield batch
                bad, rows, step = {}, [], step + 1
            if step == before:
                raise UserError(
                    f"train.batch_size: {self.batch_size} pairs, but {self.data.train} has {len(rows)}"
                    + (f", and {len(bad)} that cannot be used ({listed(list(bad.items()))})" if bad else "")
                    + "; set a smaller train.batch_size"
                )

    def _batch(self, rows: list[dict[str, Any]], epoch: int, first: int) -> PairBatch:
        """This process's part of a batch; `first` is the number of its first item in the epoch."""
        own, first = rows[self.own], first + self.own.start
        names = [name_of(row) for row in own]
        table = datasets.Dataset(pa.Table.from_pylist([{name: row[name] for name in self._kept} for row in own]))
        path, cache = Path(self.data.train), FeatureCache(0)
        sides = [
            SideReader(name, at, spec, self.processors[name], read_items(path, table, name, spec), path, cache)
            for at, (name, spec) in enumerate(sorted(self.modalities.items()))
        ]

        def draw(row: int) -> tuple[int, int, int]:
            return (self.seed, epoch, first + row)

        ids = np.fromiter(map(content_id, names), np.int64, len(names))
        labels = np.full(len(names), NO_LABEL)
        return make_batch(sides, range(len(names)), names, ids, labels, draw)

    def _columns(self) -> list[str]:
        """The columns of the first rows."""
        rows: list[dict[str, Any]] = []
        bad: list[Bad] = []
        for raw in read_stream(Path(self.data.train), self._stream):
            row = named_row(raw, self._classes)
            if OUT in row:
                bad.append((row["id"], LEFT_OUT + row[OUT]))
            else:
                rows.append(row)
            if len(rows) == LOOKED_AT or len(bad) == JUDGED:
                break
        if bad and not rows:
            self.require_usable(bad, 0)
        return list(dict.fromkeys(name for row in rows for name in row))

    def _unusable(self, row: dict[str, Any]) -> str:
        """Why a row cannot be used, as far as can be seen without decoding; "" where it can."""
        for name in self._kept:
            if row[name] is None:
                return f"no {name}"
            values = row[name] if isinstance(row[name], list) else [row[name]]
            if not values or any(value is None or (isinstance(value, str) and not value.strip()) for value in values):
                return f"empty {name}"
        return ""

    def _open(self, epoch: int) -> Iterator[dict[str, Any]]:
        """The rows of an epoch, shuffled: `id`, the columns needed, item ids; of what is left out, its name and why."""
        stream = self._stream.shuffle(seed=self.seed, buffer_size=self.data.shuffle_buffer)
        stream.set_epoch(epoch)
        left_out, seen = set(self.data.leave_out_labels), set()
        times: Counter[str] = Counter()  # of what is left out, by name
        for raw in read_stream(Path(self.data.train), stream):
            row = named_row(raw, self._classes)
            reason = row.get(OUT)
            if reason is None:
                if left_out:
                    seen.add(row.get("label"))
                    if row.get("label") in left_out:
                        continue
                row = {name: present(row.get(name)) for name in ("id", *self._kept)}
                reason = self._unusable(row)
            if not reason:
                yield row
                continue
            name = name_of(row)
            times[name] += 1
            yield {"id": name if times[name] == 1 else f"{name} ({times[name]})", OUT: LEFT_OUT + reason}
        unknown = sorted(left_out - seen)
        if unknown:
            raise UserError(f"data.leave_out_labels: no row of {self.data.train} has the label {unknown[0]!r}")
