"""Aligned pairs, ready for the towers. Input: a manifest and each tower's processor. Output: `PairBatch`es.

At the start every audio header is read once, for lengths and to leave out what cannot be used. A batch is then decoded,
turned into features (kept in memory up to `cache_mb`), augmented when training, and padded by the processor. Of a row
with several captions one is drawn in every epoch.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from xmodal.batch import NO_LABEL, PairBatch, Rows
from xmodal.config.data import AudioModality, DataSpec, ModalitySpec
from xmodal.data.manifest import read_pairs
from xmodal.data.reading import UNREADABLE
from xmodal.data.sampler import BatchKey
from xmodal.data.side_reader import FeatureCache, SideReader
from xmodal.data.teacher import Teacher
from xmodal.data.unusable import Bad, require_usable
from xmodal.data.views.fit import check_fit, check_views, rewording_of
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.store import content_id


class PairDataset(Dataset[PairBatch]):
    """The training pairs of a run: `dataset[BatchKey(epoch, indices)]` is a `PairBatch`.

    `lengths` [n], for bucketing: seconds of audio where audio is read, steps where a store gives its sequences, else
    characters of text. `names`: the pair ids; `ids` [n] int64, what batches have of them. `labels` [n] int64, where the
    manifest has any.
    `sides`: what reads each side, by name.
    `named`: modalities whose item ids the manifest gives in a column of their own. `label_names`: sorted, the label of
    a batch is an index into them (-1 where the manifest says null). `skipped`: the items left out at the start, with
    the reason. `tally`: what was seen, used, left out and cut short. Items that fail later, when decoded, are left out
    of their batch and listed in its `skipped` (tell `tally.lose`); a batch may thus be smaller, even empty.

    Augmentation applies when `train`, after the cache, and depends on (seed, epoch, row of the manifest, side, view)
    alone: neither resuming nor the number of processes changes it. With DataLoader workers the cache is per worker.

    `teachers`: side -> the teacher whose embeddings batches bring along; pairs that it has none of are left out.

    Raises `UserError`: what `read_manifest` raises; more than `data.max_bad` of the items cannot be used; a processor
    that does not fit its modality; augmentation of features that are not log-mel.

    Example:
        dataset = PairDataset(config.data, {"text": TextModality(), "speech": AudioModality()}, processors, seed=0)
        batch = dataset[BatchKey(0, np.arange(64))]
    """

    def __init__(
        self,
        data: DataSpec,
        modalities: Mapping[str, ModalitySpec],
        processors: Mapping[str, Processor],
        seed: int,
        train: bool = True,
        teachers: Mapping[str, Teacher] | None = None,
    ) -> None:
        for name, spec in modalities.items():
            check_fit(name, spec, processors[name])
        self._teachers = dict(teachers or {})
        self.path, self.max_bad, self.seed, self.train = Path(data.train), data.max_bad, seed, train
        manifest, items = read_pairs(self.path, dict(modalities), data.made_by)
        cache = FeatureCache(data.cache_mb)
        self.sides = dict[str, SideReader]()
        for number, (name, spec) in enumerate(sorted(modalities.items())):
            tower = processors[name]
            rewording = rewording_of(spec, tower)
            self.sides[name] = SideReader(name, number, spec, tower, items[name], manifest.root, cache, rewording)
        for side in self.sides.values():
            check_views(side.name, side.spec, side.processor, several=bool((side.items.count > 1).any()))
        self.total = len(manifest)
        self.named = {name for name in modalities if f"{name}_id" in manifest.column_names}
        all_names, labels = manifest.names, manifest.labels
        left_out = self._left_out(labels, data.leave_out_labels)
        self.tally = manifest.tally
        lengths, reasons = self._scan()
        self.skipped: list[Bad] = [(all_names[row], reason) for row, reason in sorted(reasons.items())]
        self.require_usable()
        self._rows = np.setdiff1d(np.arange(self.total), [*reasons, *left_out])  # [n] rows of the manifest
        for row in left_out:
            if row not in reasons:
                self.tally.leave_out(all_names[row], f"the label {(labels or [])[row]!r} is in data.leave_out_labels")
        for name, reason in self.skipped:
            self.tally.leave_out(name, reason)
        self.tally.used = len(self._rows)
        self.lengths = lengths[self._rows]
        self.names: list[str] = [all_names[row] for row in self._rows]
        self.ids = np.fromiter(map(content_id, self.names), np.int64, len(self.names))
        self.label_names: list[str] = []
        self.labels: np.ndarray | None = None
        if labels is not None:
            mine = [labels[row] for row in self._rows]
            self.label_names = sorted({label for label in mine if label is not None})
            number_of = {label: number for number, label in enumerate(self.label_names)}
            self.labels = np.array([number_of.get(label, -1) for label in mine], dtype=np.int64)
        self.digest = self._digest()

    def __len__(self) -> int:
        return len(self._rows)

    def items_of(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Of each pair [n] its first item in one modality, and how many it has there."""
        items = self.sides[name].items
        return items.first[self._rows], items.count[self._rows]

    @property
    def rows(self) -> np.ndarray:
        """The row of the manifest [n] of each pair."""
        return self._rows

    @property
    def unlabelled(self) -> int:
        """Pairs without a label."""
        return len(self) if self.labels is None else int((self.labels == NO_LABEL).sum())

    def _digest(self) -> str:
        """A digest of pair ids, item ids and labels."""
        found = hashlib.blake2b(self.ids.tobytes(), digest_size=16)
        for side in self.sides.values():
            for part in (side.items.ids, side.items.first, side.items.count):
                found.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
        if self.labels is not None:
            found.update(json.dumps(self.label_names).encode() + self.labels.tobytes())
        return found.hexdigest()

    def __getitem__(self, key: BatchKey) -> PairBatch:
        def draw(row: int) -> tuple[int, int, int]:
            return (self.seed, key.epoch, row)

        at = np.asarray(key.indices, dtype=np.int64)
        names = [self.names[index] for index in at]
        labels = np.full(len(at), NO_LABEL) if self.labels is None else self.labels[at]
        return make_batch(
            list(self.sides.values()),
            self._rows[at].tolist(),
            names,
            self.ids[at],
            labels,
            draw if self.train else None,
            self._teachers,
        )

    def require_usable(self, undecodable: Sequence[Bad] = (), read: int = 0) -> None:
        """Raise `UserError` if more than `max_bad` of all items cannot be used.

        `undecodable` are those that failed when decoded (`PairBatch.skipped` over all processes), each once; how many
        were `read` so far matters to streams alone.
        """
        require_usable(self.path, self.total, [*self.skipped, *undecodable], self.max_bad, "data.max_bad")

    def _left_out(self, labels: Sequence[str | None] | None, out: Sequence[str]) -> list[int]:
        """Rows whose label is not to be trained on."""
        unknown = sorted(set(out) - set(labels or ()))
        if unknown:
            raise UserError(f"data.leave_out_labels: no row of {self.path} has the label {unknown[0]!r}")
        return [row for row, label in enumerate(labels or ()) if label in out] if out else []

    def _scan(self) -> tuple[np.ndarray, dict[int, str]]:
        """Lengths [n], of audio where it is heard, else of text; and the rows that cannot be used with the reason.

        Audio is heard where it is read, and where a store gives its sequences.
        """
        lengths, reasons = np.zeros(self.total), {}
        heard = any(
            isinstance(s.spec, AudioModality) and (s.is_live or s.stores_sequences) for s in self.sides.values()
        )
        for side in self.sides.values():
            found, bad = side.scan(self.tally)
            reasons.update(bad)
            if side.name in self._teachers:
                for row, reason in self._teachers[side.name].scan(side.items, self.tally).items():
                    reasons.setdefault(row, reason)
            if isinstance(side.spec, AudioModality) or not heard:
                lengths += found
        return lengths, reasons


def make_batch(
    sides: Sequence[SideReader],
    rows: Sequence[int],
    names: Sequence[str],
    ids: np.ndarray,
    labels: np.ndarray,
    draw: Callable[[int], tuple[int, int, int]] | None,
    teachers: Mapping[str, Teacher] | None = None,
) -> PairBatch:
    """The batch of some rows; those with an item that cannot be read are left out and listed in `skipped`.

    Args:
        sides: one per modality, `sides[i].number == i`.
        rows: [B] rows of the sides' items.
        names, ids: [B] of the pairs.
        labels: [B] int64, -1 for none.
        draw: row -> (seed, epoch, row), which with the side's number, and the view's from 1 on, decide all that is
            drawn; None, as in evaluation: the row's first item as it is, in one view.
        teachers: side -> what gives a teacher's embeddings of the items of its first view.
    """

    def generators(side: SideReader, row: int) -> Sequence[np.random.Generator | None]:
        if draw is None or not side.is_random:
            return [None] * views[side.name]
        key = (*draw(row), side.number)
        return [np.random.default_rng((*key, view) if view else key) for view in range(views[side.name])]

    def collated(side: SideReader, view: int) -> Rows:
        return side.collate([row[side.number][1][view] for row in read])

    views = {side.name: 1 if draw is None else side.spec.training_views for side in sides}
    usable: list[int] = []
    read: list[list[tuple[int, list[np.ndarray]]]] = []  # of each usable row, (item id, features by view) per side
    skipped: list[Bad] = []
    for at, row in enumerate(rows):
        try:
            read.append([side.read(row, generators(side, row)) for side in sides])
            usable.append(at)
        except UNREADABLE as error:
            skipped.append((names[at], str(error)))

    item_ids = {side.name: [row[side.number][0] for row in read] for side in sides}
    return PairBatch(
        inputs={side.name: collated(side, 0) for side in sides},
        ids=torch.from_numpy(ids[usable]),
        item_ids={name: torch.tensor(found).long() for name, found in item_ids.items()},
        names=tuple(names[at] for at in usable),
        labels=torch.from_numpy(labels[usable]),
        skipped=skipped,
        views={
            side.name: tuple(collated(side, view) for view in range(1, views[side.name]))
            for side in sides
            if views[side.name] > 1
        },
        teachers={name: teacher.embeddings(item_ids[name]) for name, teacher in (teachers or {}).items()},
    )
