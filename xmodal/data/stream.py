"""Pairs that are read as they come, for data too large to keep: local tars in place, parquet and the hub by `datasets`.

Input: what `data.train` names, with `data.streaming`. Output: `PairBatch`es. A stream is shuffled inside a buffer
alone, and going on from step n reads all that came before it again: where there is room, read the data in place.
"""

import copy
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch.utils.data import IterableDataset

from xmodal.batch import NO_LABEL, PairBatch
from xmodal.config.data import AudioModality, DataSpec, ModalitySpec, TextModality
from xmodal.data.dataset import make_batch
from xmodal.data.items import column_of, wordings_column
from xmodal.data.manifest import Manifest
from xmodal.data.reading import count_cut, lengths_of
from xmodal.data.side_reader import FeatureCache, SideReader
from xmodal.data.sources.streamed import OUT, name_of, named_row, open_stream, present, read_stream
from xmodal.data.tally import Tally
from xmodal.data.unusable import Bad, listed, require_usable
from xmodal.data.views.fit import check_fit, check_views, rewording_of
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.store import content_id

JUDGED = 10_000  # items over which the share of bad ones is judged at least
LOOKED_AT = 100  # items at the start, for the columns there are
LABEL = "__label__"  # in a row that is used: its label, as a string
LEFT_OUT = "left out: "  # begins the reason where an item never came into a batch


class StreamedPairs(IterableDataset[PairBatch]):
    """The training pairs of a run, streamed. Every process reads the whole stream and keeps its rows of each batch.

    An epoch: shuffle in a buffer of `data.shuffle_buffer` items; leave out those that can be seen to be unusable; cut
    into batches; drop the rest. Batches are a pure function of (seed, step) and the same for every number of processes.
    What was left out is in `skipped` of the next batch, that of rank 0.

    `label_names`: of a `label` column of class numbers the classes, and a batch's labels are indices into them. Of any
    other the labels there will be are not known: a batch has the 63 lower bits of `content_id`, equal labels having
    equal numbers everywhere. -1 is none. What a batch lists in
    `skipped` is told to `tally` by whoever takes the batches, each item once (`tally.leave_out`).

    Raises:
        UserError: neither hub:NAME nor a folder of tars or parquet files, a tower read from a store, a column that is
            not there, fewer items than a batch holds, too many that are left out, training views that cannot differ.

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
        self.path = Path(data.train)
        self.modalities, self.processors = dict(sorted(modalities.items())), dict(processors)
        for name, spec in modalities.items():
            check_fit(name, spec, processors[name])
            if processors[name].kind == "item_id":
                raise UserError(
                    f"data.streaming: towers.{name} is read from a store, which holds items by id; use it live"
                )
        self._rewordings = {name: rewording_of(spec, processors[name]) for name, spec in modalities.items()}
        self.rank = rank
        self.own = slice(rank * batch_size // world, (rank + 1) * batch_size // world)
        if batch_size < world:
            raise UserError(f"train.batch_size: {batch_size} pairs for {world} processes, expected one each at least")
        self.skipped: list[Bad] = []
        self.start = 0
        self._stream, self._classes = open_stream(self.path)
        self.label_names = list(self._classes.get("label", ()))
        first = self._first_rows()
        there = dict.fromkeys(name for row in first for name in row)
        self.columns = list(dict.fromkeys(column_of(name, spec) for name, spec in self.modalities.items()))
        self._wordings = [column for spec in self.modalities.values() for column in wordings_column(spec)]
        missing = [name for name in [*self.columns, *self._wordings] if name not in there]
        if missing:
            raise UserError(f"{data.train}: missing column {missing[0]!r}; found: {', '.join(there) or 'nothing'}")
        self.has_labels = "label" in there
        self.named = {name for name in self.modalities if f"{name}_id" in there}
        self._needed = list(dict.fromkeys([*self.columns, *(f"{name}_id" for name in sorted(self.named))]))
        self.tally = Tally(str(data.train))
        if self.has_labels and all(row.get("label") in (None, "") for row in first):
            self.tally.notes.append(f"streamed: none of the first {len(first)} rows has a label")
        self._look_at([row for row in first if not self._unusable({name: row.get(name) for name in self._needed})])

    def _look_at(self, rows: list[dict[str, Any]]) -> None:
        """Check and count what the first rows can show."""
        for side in self._sides(rows) if rows else ():
            check_views(side.name, side.spec, side.processor, several=bool((side.items.count > 1).any()))
            if isinstance(side.spec, TextModality):
                texts = side.items.values.to_pylist()
                count_cut(side.processor, side.spec, texts, np.zeros(len(texts)), self.tally)
            if isinstance(side.spec, AudioModality) and side.spec.windows is not None:
                side.seen_lengths(lengths_of(side.spec, side.items.values.to_pylist(), side.root)[0], self.tally)
        self.tally.notes.append(f"streamed: what is cut short is counted over the first {len(rows)} rows alone")
        if self.data.leave_out_labels:
            self.tally.notes.append("rows whose label is in data.leave_out_labels are not counted")

    def iterate_from(self, step: int) -> "StreamedPairs":
        """The same stream, from step `step` on."""
        other = copy.copy(self)
        other.start = step
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
        require_usable(self.path, max(total, least), undecodable, self.data.max_bad, "data.max_bad")

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
        names = [row["id"] for row in own]

        def draw(row: int) -> tuple[int, int, int]:
            return (self.seed, epoch, first + row)

        ids = np.fromiter(map(content_id, names), np.int64, len(names))
        labels = np.fromiter((self._label(row[LABEL]) for row in own), np.int64, len(own))
        return make_batch(self._sides(own), range(len(names)), names, ids, labels, draw)

    def _sides(self, rows: list[dict[str, Any]]) -> list[SideReader]:
        """What reads these rows."""
        columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in self._needed}
        for name in set(self._wordings) - columns.keys():  # arrow takes no strings beside lists
            columns[name] = [[one] if isinstance(one, str) else one for one in (row.get(name) for row in rows)]
        table = pa.table(columns)
        pairs, cache = Manifest(self.path, table).pairs(self.modalities), FeatureCache(0)
        return [
            SideReader(name, number, spec, self.processors[name], pairs[name], self.path, cache, self._rewordings[name])
            for number, (name, spec) in enumerate(self.modalities.items())
        ]

    def _label(self, label: str | None) -> int:
        """The number of a label, the same in every process."""
        if label is None:
            return NO_LABEL
        return self.label_names.index(label) if label in self.label_names else content_id(label) & (2**63 - 1)

    def _first_rows(self) -> list[dict[str, Any]]:
        """The first rows, a hundred of them, for the columns there are."""
        rows: list[dict[str, Any]] = []
        bad: list[Bad] = []
        for raw in read_stream(self.path, self._stream):
            row = named_row(raw, self._classes)
            if OUT in row:
                bad.append((row["id"], LEFT_OUT + row[OUT]))
            else:
                rows.append(row)
            if len(rows) == LOOKED_AT or len(bad) == JUDGED:
                break
        if bad and not rows:
            self.require_usable(bad, 0)
        return rows

    def _unusable(self, row: dict[str, Any]) -> str:
        """Why a row cannot be used, as far as can be seen without decoding; "" where it can."""
        for name in self._needed:
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
        left_out, seen = set(self.data.leave_out_labels), set[str | None]()
        times: Counter[str] = Counter()  # of what is left out, by name
        for raw in read_stream(self.path, stream):
            row = named_row(raw, self._classes)
            reason = row.get(OUT)
            if reason is None:
                label = present(row.get("label"))
                label = None if label is None else str(label)
                if left_out:
                    seen.add(label)
                    if label in left_out:
                        continue
                others = {name: present(row.get(name)) for name in self._wordings}
                row = {name: present(row.get(name)) for name in ("id", *self._needed)}
                reason = self._unusable(row)
                if not reason:
                    yield {**others, **row, "id": name_of(row), LABEL: label}
                    continue
            name = name_of(row)
            times[name] += 1
            yield {"id": name if times[name] == 1 else f"{name} ({times[name]})", OUT: LEFT_OUT + reason}
        unknown = sorted(left_out - seen)
        if unknown:
            raise UserError(f"data.leave_out_labels: no row of {self.data.train} has the label {unknown[0]!r}")
