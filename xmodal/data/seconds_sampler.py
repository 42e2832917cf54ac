"""Batches of at most so many seconds of audio: short items come in large batches, long ones in small.

Input: item lengths, the seconds of a batch over all processes, a seed. Output: an endless row of `BatchKey`s for one
process. As with `BucketSampler`, every batch is a pure function of (seed, epoch), the same for every number of
processes, so that going on from step n needs no saved state: only how many batches the epochs before it held.
"""

import heapq
import itertools
from collections.abc import Iterator

import numpy as np

from xmodal.data.sampler import BatchKey
from xmodal.errors import UserError

TICKS = 1000  # lengths are counted in milliseconds, rounded up: sums are exact


class SecondsSampler:
    """Batches of at most `seconds` of audio in total. The number of pairs in them varies.

    An epoch: shuffle; sort by length inside chunks of `buckets` batches' worth of seconds; fill each batch until the
    next item would not fit, what is left of a chunk going into the next; shuffle the batches. A pair that would be
    alone in its batch, with nothing to be told apart from, goes where there is room for it, else the shortest pair of
    the largest batch joins it. So every item occurs once in an epoch, but for those that stay alone, and
    those longer than `seconds` (`too_long`). `buckets` 0 does not sort. Process `rank` of `world` gets its share of
    each batch, by position, which may be none.

    Args:
        lengths: [n] seconds.
        seconds: of a batch, over all processes.
        seed: of the shuffles.
        buckets: batches' worth that are sorted together.
        rank: this process.
        world: number of processes.

    Raises:
        UserError: no two items fit into a batch.

    Example:
        sampler = SecondsSampler(dataset.lengths, seconds=120, seed=0, buckets=16)
        loader = DataLoader(dataset, sampler=sampler.iterate_from(0), batch_size=None)
    """

    def __init__(
        self, lengths: np.ndarray, seconds: float, seed: int, buckets: int, rank: int = 0, world: int = 1
    ) -> None:
        self.seconds, self.seed, self.buckets, self.rank, self.world = seconds, seed, buckets, rank, world
        self.most = int(seconds * TICKS)
        self.ticks = np.ceil(np.asarray(lengths) * TICKS - 1e-6).astype(np.int64)  # [n]
        self.too_long = np.flatnonzero(self.ticks > self.most)
        self._fitting = np.flatnonzero(self.ticks <= self.most)
        self._sizes: list[np.ndarray] = []  # of the batches of each epoch so far
        if not len(self.epoch(0)):
            shortest = np.sort(self.ticks)[:2] / TICKS
            raise UserError(
                f"train.batch_seconds: {seconds:g}, but no two of {len(lengths)} items fit into that (the shortest: "
                f"{', '.join(f'{length:.2f} s' for length in shortest)}); set a larger one"
            )

    def epoch(self, number: int) -> list[np.ndarray]:
        """All batches of an epoch, over all processes: int64 rows of each."""
        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(self._fitting)
        batches: list[np.ndarray] = []
        left = order[:0]
        for chunk in self._chunks(order):
            waiting = np.concatenate([left, chunk])
            if self.buckets:
                waiting = waiting[np.argsort(self.ticks[waiting], kind="stable")]
            *full, left = self._filled(waiting)
            batches += full
        batches = self._in_company([*batches, left])
        return [batches[at] for at in rng.permutation(len(batches))]

    def epoch_of(self, step: int) -> int:
        """The epoch that a step is in, both from 0."""
        return self._place_of(step)[0]

    def iterate_from(self, step: int) -> Iterator[BatchKey]:
        """This process's batches from step `step` (counted from 0 over the whole run) on, without end."""
        epoch, step = self._place_of(step)
        while True:
            for batch in self.epoch(epoch)[step:]:
                share = slice(self.rank * len(batch) // self.world, (self.rank + 1) * len(batch) // self.world)
                yield BatchKey(epoch, batch[share])
            epoch, step = epoch + 1, 0

    def pairs(self, first: int, last: int) -> int:
        """How many pairs the batches of the steps `first` to `last` (not included) hold, over all processes."""
        total = epoch = start = 0
        while start < last:
            sizes = self._sizes_of(epoch)
            total += int(sizes[max(0, first - start) : last - start].sum())
            epoch, start = epoch + 1, start + len(sizes)
        return total

    def summary(self) -> str:
        """How many pairs a batch holds, in the first epoch, as a line."""
        sizes = self._sizes_of(0)
        alone = len(self._fitting) - int(sizes.sum())
        line = (
            f"train.batch_seconds={self.seconds:g}: {len(sizes)} batches in the first epoch, "
            f"{sizes.min()} to {sizes.max()} pairs each, median {int(np.median(sizes))}"
        )
        return line + (f"; {alone} pairs are left out of it, being alone in a batch" if alone else "")

    def _place_of(self, step: int) -> tuple[int, int]:
        """The epoch that a step of the run is in, and its number there."""
        epoch = 0
        while step >= len(self._sizes_of(epoch)):
            step -= len(self._sizes_of(epoch))
            epoch += 1
        return epoch, step

    def _sizes_of(self, epoch: int) -> np.ndarray:
        while len(self._sizes) <= epoch:
            self._sizes.append(np.array([len(batch) for batch in self.epoch(len(self._sizes))], dtype=np.int64))
        return self._sizes[epoch]

    def _chunks(self, order: np.ndarray) -> list[np.ndarray]:
        """The order cut into pieces of `buckets` batches' worth each."""
        if not self.buckets:
            return [order]
        worth = np.cumsum(self.ticks[order]) // (self.buckets * self.most)
        return np.split(order, np.flatnonzero(np.diff(worth)) + 1)

    def _in_company(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """The batches without those of a single pair, which finds others or is left out."""
        several = [batch for batch in batches if len(batch) > 1]
        by_room = [(int(self.ticks[batch].sum()), at) for at, batch in enumerate(several)]
        by_size = [(-len(batch), at) for at, batch in enumerate(several)]
        heapq.heapify(by_room)
        heapq.heapify(by_size)
        for alone in [batch for batch in batches if len(batch) == 1 and several]:
            length, (total, emptiest), (_, largest) = int(self.ticks[alone[0]]), by_room[0], by_size[0]
            giver = several[largest]
            shortest = int(np.argmin(self.ticks[giver]))
            if total + length <= self.most:
                several[emptiest] = np.concatenate([several[emptiest], alone])
                heapq.heapreplace(by_room, (total + length, emptiest))
            elif len(giver) > 2 and int(self.ticks[giver[shortest]]) + length <= self.most:
                several[largest] = np.delete(giver, shortest)
                several.append(np.concatenate([giver[shortest : shortest + 1], alone]))
                heapq.heapreplace(by_size, (1 - len(giver), largest))
        return several

    def _filled(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows cut into batches, the last of which may have room left."""
        ends = np.cumsum(self.ticks[rows])
        cuts = [0]
        while cuts[-1] < len(rows):
            before = ends[cuts[-1] - 1] if cuts[-1] else 0
            cuts.append(int(np.searchsorted(ends, before + self.most, side="right")))
        return [rows[start:stop] for start, stop in itertools.pairwise(cuts)] or [rows]
