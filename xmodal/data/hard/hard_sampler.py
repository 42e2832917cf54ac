"""Batches in which a share of the pairs are hard negatives of others: their guide items are near one another.

Input: the guide item of each pair and the nearest other items of each item (`nearest.py`). Output: as of
`BucketSampler`, whose promises hold here too: every batch is a pure function of (seed, epoch), the same for every
number of processes.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from xmodal.data.sampler import BucketSampler


class HardSampler(BucketSampler):
    """Batches of `batch_size` pairs over all processes, `share` of them mined.

    An epoch: shuffle the pairs; drop the n mod batch_size at the end. Then batch by batch: take the next pairs that are
    left, `batch_size` - round(`share` * `batch_size`) of them and one at least; these, in turn, each bring the nearest
    neighbour that is left and that is no positive of a pair in the batch; then those brought bring theirs. Where nobody
    brings any more, the next pairs that are left fill the batch. At the end the batches are shuffled.

    So an epoch holds floor(n / batch_size) batch_size different pairs, each once: mining chooses which pairs meet, and
    never how often one is seen. Towards the end of an epoch few neighbours are left: `summary` says how many pairs
    were mined in fact. A mined pair is in the list of a pair of its batch, and of another group than every pair that
    was in the batch before it. Lengths play no part (`buckets`).

    Args:
        of_pair: [n] the guide item of each pair, 0 to m - 1.
        groups: [m] of the items: pairs of one group are positives of one another.
        neighbours: [m, K] int, nearest first, -1 for none.
        share: of a batch that is mined, 0 to less than 1; 0: the batches of `BucketSampler` with `buckets` 0.
        batch_size: pairs over all processes.
        seed: of the shuffles.
        rank: this process.
        world: number of processes.

    Raises:
        UserError: fewer pairs than a batch holds.

    Example:
        sampler = HardSampler(items.of_pair, items.groups, lists, share=0.5, batch_size=64, seed=0)
    """

    def __init__(
        self,
        of_pair: np.ndarray,
        groups: np.ndarray,
        neighbours: np.ndarray,
        share: float,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(np.zeros(len(of_pair)), batch_size, seed, 0, rank, world)
        self.of_pair, self.groups, self.neighbours, self.share = of_pair, groups.tolist(), neighbours, share
        self.mined = min(round(share * batch_size), batch_size - 1)  # pairs of a batch

    def epoch(self, number: int) -> np.ndarray:
        """All batches of an epoch, over all processes: [steps_per_epoch, batch_size] int64 rows."""
        return self._epoch(number)[0]

    def summary(self) -> str:
        """How much of the first epoch is mined, as a line."""
        return (
            f"train.sampler: share {self.share:g} asked, and {self._first_share:.3f} of the pairs of the first epoch "
            "are near neighbours of another one in their batch"
        )

    @cached_property
    def _first_share(self) -> float:
        return self._epoch(0)[1] / (self.steps_per_epoch * self.batch_size)

    def _epoch(self, number: int) -> tuple[np.ndarray, int]:
        """The batches, and how many pairs of them were mined."""
        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(len(self.of_pair))[: self.steps_per_epoch * self.batch_size]
        left = _Left(order, self.of_pair)
        batches, mined = [], 0
        for _ in range(self.steps_per_epoch):
            batch = [left.next() for _ in range(self.batch_size - self.mined)]
            found = self._mined(batch, left)
            mined += len(found)
            batches.append(batch + found + [left.next() for _ in range(self.mined - len(found))])
        return rng.permutation(np.array(batches, np.int64)), mined

    def _mined(self, batch: list[int], left: "_Left") -> list[int]:
        """Up to `mined` pairs that are neighbours of those of the batch, or of one another."""
        items: list[int] = self.of_pair[batch].tolist()
        inside = {self.groups[item] for item in items}
        anchors = deque(iter(self.neighbours[item].tolist()) for item in items)
        found: list[int] = []
        while anchors and len(found) < self.mined:
            pair = self._nearest(anchors[0], inside, left)
            anchors.rotate(-1)
            if pair is None:  # what it can bring only gets less
                anchors.pop()
                continue
            item = int(self.of_pair[pair])
            found.append(pair)
            inside.add(self.groups[item])
            anchors.append(iter(self.neighbours[item].tolist()))
        return found

    def _nearest(self, candidates: Iterator[int], inside: set[int], left: "_Left") -> int | None:
        """The next pair of the nearest candidate that is left and of no group inside the batch."""
        for item in candidates:
            if item < 0:
                return None
            if self.groups[item] not in inside:
                pair = left.of(item)
                if pair is not None:
                    return pair
        return None


class _Left:
    """The pairs of an epoch that are in no batch yet, in their order."""

    def __init__(self, order: np.ndarray, of_pair: np.ndarray) -> None:
        self._order = iter(order.tolist())
        self._taken = bytearray(len(of_pair))
        self._by_item: dict[int, list[int]] = defaultdict(list)
        for pair, item in zip(order[::-1].tolist(), of_pair[order[::-1]].tolist(), strict=True):
            self._by_item[item].append(pair)

    def next(self) -> int:
        """The next one, which is taken."""
        pair: int = next(pair for pair in self._order if not self._taken[pair])
        self._taken[pair] = 1
        return pair

    def of(self, item: int) -> int | None:
        """The next one that holds an item, which is taken; None where there is none."""
        pairs = self._by_item.get(item, [])
        while pairs:
            pair = pairs.pop()
            if not self._taken[pair]:
                self._taken[pair] = 1
                return pair
        return None
