"""Aligned pairs, ready for the towers. Enters: a manifest and each tower's processor. Leaves: `PairBatch`es.

At the start every audio header is read once, for lengths and to leave out what cannot be used. A batch is then decoded,
turned into features (kept in memory up to `cache_mb`), augmented when training, and padded by the processor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset

from xmodal.batch import PairBatch
from xmodal.config.data import AudioModality, DataSpec, TextModality
from xmodal.data.audio import AudioError, read_audio, scan_headers
from xmodal.data.manifest import item_ids, read_manifest, strings
from xmodal.data.sampler import BatchKey
from xmodal.data.unusable import Bad, require_usable
from xmodal.data.views import augment, is_active
from xmodal.errors import UserError
from xmodal.store import content_id

ENTRY_BYTES = 200  # what a cached array costs besides its numbers


class ItemProcessor(Protocol):
    """What this layer needs of a tower's processor: one item to features, features to a padded batch."""

    @property
    def kind(self) -> str:
        """What an item is: `text` (a string), `audio` (waveform [T] float32) or `item_id` (an integer)."""

    @property
    def sample_rate(self) -> int | None:
        """Hz, for audio."""

    @property
    def log_mel(self) -> bool:
        """Are the features log-mel [T, F], to which `SpeechAugment` applies?"""

    def features(self, item: Any) -> np.ndarray:
        """One item's features, without padding, always the same."""

    def collate(self, features: list[np.ndarray]) -> dict[str, Tensor]:
        """A padded batch of features; padding never changes an embedding."""


@dataclass(frozen=True)
class _Side:
    """One modality of the manifest. `items`, `ids`: one per row of the manifest."""

    name: str
    number: int
    spec: TextModality | AudioModality
    processor: ItemProcessor
    items: pa.LargeStringArray
    ids: np.ndarray  # [n] int64

    @property
    def is_live(self) -> bool:
        """Are the items themselves read, rather than their ids alone?"""
        return self.processor.kind != "item_id"


class PairDataset(Dataset[PairBatch]):
    """The training pairs of a run: `dataset[BatchKey(epoch, indices)]` is a `PairBatch`.

    `lengths` [n]: seconds of audio where audio is read, else characters of text, for bucketing. `names`: the pair ids.
    `named`: modalities whose item ids the manifest gives in a column of their own. `label_names`: sorted, the label of
    a batch is an index into them (-1 where the manifest says null). `skipped`: the items left out at the start, with
    the reason. Items that fail later, when decoded, are left out of their batch and listed in its `skipped`; a batch
    may thus be smaller, even empty.

    Augmentation applies when `train`, after the cache, and depends on (seed, epoch, row of the manifest) alone: neither
    resuming nor the number of processes changes it. With DataLoader workers the cache is per worker.

    Raises `UserError`: what `read_manifest` raises; more than `data.max_bad` of the items cannot be used; a processor
    that does not fit its modality; augmentation of features that are not log-mel.

    Example:
        dataset = PairDataset(config.data, {"text": TextModality(), "speech": AudioModality()}, processors, seed=0)
        batch = dataset[BatchKey(0, np.arange(64))]
    """

    def __init__(
        self,
        data: DataSpec,
        modalities: Mapping[str, TextModality | AudioModality],
        processors: Mapping[str, ItemProcessor],
        seed: int,
        train: bool = True,
    ) -> None:
        for name, spec in modalities.items():
            _check_fit(name, spec, processors[name])
        self.path, self.max_bad, self.seed, self.train = Path(data.train), data.max_bad, seed, train
        columns = {name: spec.column or name for name, spec in modalities.items()}
        manifest = read_manifest(self.path, list(columns.values()), data.made_by)
        self._sides = [
            _Side(
                name=name,
                number=number,
                spec=spec,
                processor=processors[name],
                items=strings(manifest, columns[name]),
                ids=item_ids(manifest, name, columns[name]),
            )
            for number, (name, spec) in enumerate(sorted(modalities.items()))
        ]
        self.total = len(manifest)
        self.named = {name for name in modalities if f"{name}_id" in manifest.column_names}
        all_names = strings(manifest, "id").to_pylist()
        lengths, reasons = self._scan()
        self.skipped: list[Bad] = [(all_names[row], reason) for row, reason in sorted(reasons.items())]
        self.require_usable()
        self._rows = np.setdiff1d(np.arange(self.total), list(reasons))  # [n] rows of the manifest
        self.lengths = lengths[self._rows]
        self.names: list[str] = [all_names[row] for row in self._rows]
        self._ids = np.fromiter(map(content_id, self.names), np.int64, len(self.names))
        self.label_names: list[str] = []
        self._labels: np.ndarray | None = None
        if "label" in manifest.column_names:
            all_labels = strings(manifest, "label").to_pylist()
            labels = [all_labels[row] for row in self._rows]
            self.label_names = sorted({label for label in labels if label is not None})
            number_of = {label: number for number, label in enumerate(self.label_names)}
            self._labels = np.array([number_of.get(label, -1) for label in labels], dtype=np.int64)
        self._cache: dict[tuple[int, int], np.ndarray] = {}
        self._room = data.cache_mb * 2**20  # bytes left

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: BatchKey) -> PairBatch:
        kept: list[int] = []
        features: list[list[np.ndarray]] = []  # of each kept item, one per side
        skipped: list[Bad] = []
        for index in map(int, key.indices):
            try:
                features.append([self._view(side, int(self._rows[index]), key.epoch) for side in self._sides])
                kept.append(index)
            except AudioError as error:
                skipped.append((self.names[index], str(error)))
        rows = self._rows[kept]
        return PairBatch(
            inputs={side.name: self._collate(side, [item[side.number] for item in features]) for side in self._sides},
            ids=torch.from_numpy(self._ids[kept]),
            item_ids={side.name: torch.from_numpy(side.ids[rows]) for side in self._sides},
            names=tuple(self.names[index] for index in kept),
            labels=None if self._labels is None else torch.from_numpy(self._labels[kept]),
            skipped=skipped,
        )

    def require_usable(self, undecodable: Sequence[Bad] = ()) -> None:
        """Raise `UserError` if more than `max_bad` of all items cannot be used.

        `undecodable` are those that failed when decoded (`PairBatch.skipped` over all processes), each once.
        """
        require_usable(self.path, self.total, [*self.skipped, *undecodable], self.max_bad, "data.max_bad")

    def _scan(self) -> tuple[np.ndarray, dict[int, str]]:
        """Lengths [n], and the rows that cannot be used with the reason."""
        seconds, characters = np.zeros(self.total), np.zeros(self.total)
        reasons: dict[int, str] = {}
        live = [side for side in self._sides if side.is_live]
        for side in self._sides:
            items = side.items.to_pylist()
            if isinstance(side.spec, TextModality):  # also where a store stands in: the batches must be the same
                reasons.update({row: f"{side.name}: empty text" for row, item in enumerate(items) if not item.strip()})
                characters += [len(item) for item in items] if side.is_live else 0
                continue
            if not side.is_live:
                continue
            for row, found in enumerate(scan_headers([self.path.parent / item for item in items])):
                if isinstance(found, AudioError):
                    reasons[row] = str(found)
                elif not side.spec.min_seconds <= found <= side.spec.max_seconds:
                    limits = f"{side.spec.min_seconds:g} to {side.spec.max_seconds:g} s"
                    reasons[row] = f"{self.path.parent / items[row]}: {found:.2f} s, expected {limits}"
                else:
                    seconds[row] += found
        return (seconds if any(side.spec.kind == "audio" for side in live) else characters), reasons

    def _view(self, side: _Side, row: int, epoch: int) -> np.ndarray:
        features = self._features(side, row)
        if self.train and isinstance(side.spec, AudioModality) and is_active(side.spec.augment):
            rng = np.random.default_rng((self.seed, epoch, row, side.number))
            return augment(features, side.spec.augment, rng)
        return features

    def _features(self, side: _Side, row: int) -> np.ndarray:
        """An item's features, kept as long as there is room: with shuffled epochs, evicting would gain nothing."""
        if not side.is_live:
            return side.processor.features(int(side.ids[row]))
        cached = self._cache.get((side.number, row))
        if cached is not None:
            return cached
        item: Any = side.items[row].as_py()
        if isinstance(side.spec, AudioModality):
            item = read_audio(self.path.parent / item, _rate(side.processor))
        features = side.processor.features(item)
        if self._room >= features.nbytes + ENTRY_BYTES:
            self._room -= features.nbytes + ENTRY_BYTES
            self._cache[side.number, row] = features
        return features

    def _collate(self, side: _Side, features: list[np.ndarray]) -> dict[str, Tensor]:
        if features:
            return side.processor.collate(features)
        # Every item was bad: a stand-in gives the tensors their shapes, then it is cut away. The other processes'
        # collectives must still find this process there.
        item: Any = int(side.ids[0]) if not side.is_live else "a"
        if side.is_live and isinstance(side.spec, AudioModality):
            item = np.random.default_rng(0).standard_normal(_rate(side.processor)).astype(np.float32)
        return {name: x[:0] for name, x in side.processor.collate([side.processor.features(item)]).items()}


def _check_fit(name: str, spec: TextModality | AudioModality, processor: ItemProcessor) -> None:
    if processor.kind not in ("item_id", spec.kind):
        raise UserError(
            f"towers.{name}: this tower takes {processor.kind}, but the modality {name!r} is {spec.kind}; "
            f"choose another tower, or set data.modalities.{name}.kind={processor.kind}"
        )
    if isinstance(spec, AudioModality) and is_active(spec.augment) and not processor.log_mel:
        raise UserError(
            f"data.modalities.{name}.augment: works on log-mel features, which this tower does not take; "
            "leave it out, or use a tower of kind speech_encoder"
        )


def _rate(processor: ItemProcessor) -> int:
    if processor.sample_rate is None:
        raise ValueError("a processor of kind audio must have a sample rate")
    return processor.sample_rate
