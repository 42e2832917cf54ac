"""The batches that a store is built from: which items are in which, and their features, read ahead of the model.

Axes: n items of the manifest (times their views), B items of a batch.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from xmodal.config.data import ModalitySpec
from xmodal.data.reading import UNREADABLE, ItemReader
from xmodal.encoding.embedding import BATCH_SIZE
from xmodal.encoding.stores.content import Content


class Read(NamedTuple):
    """What was read of one batch."""

    positions: list[int]  # in the content, of the items that could be read
    features: list[np.ndarray]  # of these
    bad: list[tuple[int, str]]  # (position, reason) of the others


@dataclass(frozen=True)
class Batches(Dataset[Read]):
    """The batches of a build by number: items of like length, the longest first, whatever the number of processes."""

    content: Content
    order: np.ndarray  # [n] int64
    modality: ModalitySpec
    reader: ItemReader
    views: int
    unusable: dict[int, str]  # position -> why its header shows that it cannot be used

    def __len__(self) -> int:
        return -(-len(self.order) // BATCH_SIZE)

    def positions(self, number: int) -> np.ndarray:
        """What is in one of them: positions [B] in the content, those of unusable items too."""
        return self.order[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]

    def plan(self) -> str:
        """A digest of which items are in which batch."""
        return hashlib.sha256(self.content.ids[self.order].tobytes() + str(BATCH_SIZE).encode()).hexdigest()

    def __getitem__(self, number: int) -> Read:
        read = Read([], [], [])
        for position in map(int, self.positions(number)):
            if position in self.unusable:
                continue
            try:
                read.features.append(self.content.features(position, self.modality, self.reader, self.views))
                read.positions.append(position)
            except UNREADABLE as error:
                read.bad.append((position, str(error)))
        return read


def read_ahead(batches: Batches, numbers: Sequence[int], workers: int) -> Iterator[Read]:
    """Those batches, read by `workers` processes while the model is at work; 0: read when their turn comes."""
    loader = DataLoader(
        batches, sampler=list(numbers), batch_size=None, num_workers=workers, collate_fn=_as_it_is,
        generator=torch.Generator(),  # drawing from the global one would change the run that follows
    )  # fmt: skip
    return iter(loader)


def _as_it_is(read: Any) -> Any:
    return read
