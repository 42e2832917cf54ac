"""Which items of the batch are the same item: equal item id in either modality.

Enters: the item ids of the gathered batch, one tensor per modality. Leaves: the relation as a mask for a few rows, as
a list of pairs, or applied to vectors in O(N D), without an N x N matrix.

"Same" is the union of one equivalence relation per modality and need not be transitive: two captions of one image,
one of which also belongs to another image. By inclusion and exclusion it is still a signed sum of equivalence
relations, `A + B - (A and B)`, and each of those sums within groups.
"""

import torch
from torch import Tensor


class SameItems:
    """The relation over N items; every item is the same as itself.

    Example:
        same = SameItems(item_ids["speech"], item_ids["text"])
        same.count                          # [N] how many items equal each one, itself included
        same.sum(k) / same.count[:, None]   # one-hot targets that share their mass
    """

    def __init__(self, first: Tensor, second: Tensor) -> None:
        a = torch.unique(first, return_inverse=True)[1]
        b = torch.unique(second, return_inverse=True)[1]
        both = torch.unique(a * len(b) + b, return_inverse=True)[1]
        self.modalities = (a, b)  # group index [N] in each
        self._signed = ((1, a), (1, b), (-1, both))
        self.count = self._count(len(a), a.device)  # [N]
        self.pair_count = int(self.count.sum())  # of the relation, the N with oneself included
        self.unique = self.pair_count == len(a)

    def _count(self, n: int, device: torch.device) -> Tensor:
        total = torch.zeros(n, dtype=torch.long, device=device)
        for sign, group in self._signed:
            total += sign * torch.bincount(group, minlength=1)[group]
        return total

    def sum(self, x: Tensor) -> Tensor:
        """Sum over the same items: `y_i = sum_j same_ij x_j` [N, D]."""
        if self.unique:
            return x
        total = torch.zeros_like(x)
        for sign, group in self._signed:
            total += sign * torch.zeros_like(x).index_add_(0, group, x)[group]
        return total

    def fill(self, block: Tensor, index: Tensor, value: float) -> Tensor:
        """Write `value` where the items `index` [n] and all N items are the same: block [n, N], in place."""
        if self.unique:
            block[torch.arange(len(index), device=index.device), index] = value
            return block
        for group in self.modalities:
            block.masked_fill_(group[index].unsqueeze(1) == group, value)
        return block

    def pairs(self) -> tuple[Tensor, Tensor]:
        """All (i, j) that are the same, i = j included, each once: two index tensors of `pair_count` entries."""
        a, b = self.modalities
        i, j = _pairs_within(a)
        more_i, more_j = _pairs_within(b)
        new = a[more_i] != a[more_j]
        return torch.cat([i, more_i[new]]), torch.cat([j, more_j[new]])


def _pairs_within(group: Tensor) -> tuple[Tensor, Tensor]:
    """All (i, j) with group_i = group_j."""
    order = torch.argsort(group)  # members of a group lie together
    sizes = torch.bincount(group)
    starts = sizes.cumsum(0) - sizes
    size = sizes[group]  # per item
    i = torch.repeat_interleave(torch.arange(len(group), device=group.device), size)
    within = torch.arange(len(i), device=group.device) - torch.repeat_interleave(size.cumsum(0) - size, size)
    return i, order[starts[group[i]] + within]
