"""Which rows make up a batch: shuffled, of similar length, the same for every number of processes.

Input: item lengths, a batch size over all processes, a seed. Output: an endless row of `BatchKey`s for one process.
Every batch is a pure function of (seed, epoch), so that going on from step n needs no saved state.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xmodal.errors import UserError


class BatchKey(NamedTuple):
    """One process's part of one batch: what a `PairDataset` is indexed with."""

    epoch: int
    indices: np.ndarray  # [B] int64, rows of the dataset


class BucketSampler:
    """Length-bucketed batches. `batch_size` counts items over all `world` processes.

    An epoch: shuffle; drop the n mod batch_size items at the end; sort by length inside chunks of `buckets` batches;
    cut into batches; shuffle the batches. An item occurs at most once in an epoch. `buckets` 0 does not sort. Process
    `rank` gets rows rank * B / world to (rank + 1) * B / world of each batch, so their union is the same batch for
    every `world`.

    Raises `UserError` when there are fewer items than a batch holds.

    Example:
        sampler = BucketSampler(dataset.lengths, batch_size=64, seed=0, buckets=16)
        loader = DataLoader(dataset, sampler=sampler.iterate_from(0), batch_size=None)
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, seed: int, buckets: int, rank: int = 0, world: int = 1
    ) -> None:
        if len(lengths) < batch_size:
            raise UserError(
                f"train.batch_size: {batch_size} pairs, but the data has {len(lengths)}; "
                f"set train.batch_size={len(lengths)} or less, or add data"
            )
        if batch_size < world:
            raise UserError(f"train.batch_size: {batch_size} pairs for {world} processes, expected one each at least")
        self.lengths = np.asarray(lengths)  # [n]
        self.batch_size = batch_size
        self.seed = seed
        self.buckets = buckets
        self.rows = slice(rank * batch_size // world, (rank + 1) * batch_size // world)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self.lengths) // self.batch_size

    def epoch(self, number: int) -> np.ndarray:
        """All batches of an epoch, over all processes: [steps_per_epoch, batch_size] int64 rows."""
        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(len(self.lengths))[: self.steps_per_epoch * self.batch_size]
        if self.buckets:
            chunk = self.buckets * self.batch_size
            for start in range(0, len(order), chunk):
                part = order[start : start + chunk]
                order[start : start + chunk] = part[np.argsort(self.lengths[part], kind="stable")]
        return rng.permutation(order.reshape(self.steps_per_epoch, self.batch_size))

    def epoch_of(self, step: int) -> int:
        """The epoch that a step is in, both from 0."""
        return step // self.steps_per_epoch

    def pairs(self, first: int, last: int) -> int:
        """How many pairs the batches of the steps `first` to `last` (not included) hold, over all processes."""
        return (last - first) * self.batch_size

    def iterate_from(self, step: int) -> Iterator[BatchKey]:
        """This process's batches from step `step` (counted from 0 over the whole run) on, without end."""
        epoch, first = divmod(step, self.steps_per_epoch)
        while True:
            for batch in self.epoch(epoch)[first:]:
                yield BatchKey(epoch, batch[self.rows])
            epoch, first = epoch + 1, 0
