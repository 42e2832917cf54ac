"""Who is compared with whom: this process's anchors against the whole batch's keys, in blocks of rows.

Input: the gathered embeddings of one side's views, or of two sides, and which items are the same. Output: for a block
of anchors who is a positive and who is a negative. Equal items are never negatives of each other.

Axes: N items of the batch, n anchors of this process, M keys (N, or N times the views of one side), D embedding.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from xmodal.objectives.engine.masked_rows import by_row_blocks
from xmodal.objectives.objective import Need, Objective
from xmodal.same_items import SameItems


class Comparison(NamedTuple):
    """Anchors and keys; `across` and `within` make them."""

    anchors: Tensor  # [n, D], this process's
    keys: Tensor  # [M, D], of the whole batch
    items: Tensor  # [n] which of the N items each anchor is
    same: SameItems  # of the N items
    itself: Tensor | None = None  # [n] the key that is the anchor itself; none: anchors are no keys

    def alike(self, at: slice) -> Tensor:
        """Bool [rows, M]: keys of the anchors' own items, and of the same ones."""
        rows, n = self.items[at], len(self.same.count)
        block = self.same.fill(torch.zeros(len(rows), n, dtype=torch.bool, device=rows.device), rows, 1.0)
        return block.repeat(1, len(self.keys) // n) if len(self.keys) > n else block

    def positive(self, at: slice) -> Tensor:
        """Bool [rows, M]: as `alike`, without the anchor itself."""
        block = self.alike(at)
        if self.itself is not None:
            block[torch.arange(len(block), device=block.device), self.itself[at]] = False
        return block

    @torch.no_grad()
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Every (anchor, key) of this process that are positives: two index tensors."""
        found = by_row_blocks(self._pairs_of, len(self.items), len(self.keys))
        return found[:, 0], found[:, 1]

    def _pairs_of(self, at: slice) -> Tensor:
        found = self.positive(at).nonzero()
        found[:, 0] += at.start
        return found

    @property
    def negatives(self) -> Tensor:
        """[n] how many negatives each anchor has."""
        n = len(self.same.count)
        return (n - self.same.count[self.items]) * (len(self.keys) // max(n, 1))


def across(a: Tensor, k: Tensor, same: SameItems, local: slice) -> Comparison:
    """Own rows of a [N, D] against all of k [N, D], the other side or the other view of the same N items."""
    items = torch.arange(len(same.count), device=a.device)[local]
    return Comparison(a[local], k, items, same)


def within(views: Sequence[Tensor], same: SameItems, local: slice) -> Comparison:
    """Own rows of all views [N, D] of a side against all rows of all views but themselves."""
    keys, n = torch.cat(list(views)), len(same.count)
    items = torch.arange(n, device=keys.device)[local]
    places = torch.cat([items + number * n for number in range(len(views))])
    return Comparison(keys[places], keys, items.repeat(len(views)), same, places)


def pair_of(sides: Sequence[str]) -> list[tuple[str, int]]:
    """The two (side, view) that are compared: of two sides each one's first view, of one its two views."""
    return [(sides[0], 0), (sides[0], 1)] if len(sides) == 1 else [(side, 0) for side in sides]


class PairOrViews(Objective.Spec):
    """Base of the specs of what compares two sides, or two views of one: `pair_of`."""

    takes: ClassVar[tuple[int, int]] = (1, 2)

    def needs(self, *sides: str) -> Sequence[Need]:
        """Two views where there is one side."""
        return [Need("views", sides[0], 2)] if len(sides) == 1 else []
