"""Which items of the batch are the same item: equal ids in any of some relations (sides, labels).

Input: the ids of the gathered batch, one tensor per relation. Output: the union of the relations as a mask for a few
rows, as a list of pairs, or applied to vectors in O(N D), without an N x N matrix.

The union of equivalence relations need not be transitive: two captions of one image, one of which also belongs to
another image. By inclusion and exclusion it is still a signed sum of equivalence relations, `A + B - (A and B)`, and
each of those sums within groups.
"""

import itertools

import torch
from torch import Tensor


class SameItems:
    """The relation over N items; every item is the same as itself.

    Example:
        same = SameItems(item_ids["speech"], item_ids["text"])
        same.count                          # [N] how many items equal each one, itself included
        same.sum(k) / same.count[:, None]   # one-hot targets that share their mass
    """

    def __init__(self, *relations: Tensor) -> None:
        groups = tuple(torch.unique(ids, return_inverse=True)[1] for ids in relations)
        self.groups = groups  # group index [N] in each relation
        self._signed: list[tuple[int, Tensor]] = []
        for size in range(1, len(groups) + 1):
            for chosen in itertools.combinations(groups, size):
                self._signed.append((1 if size % 2 else -1, _joint(chosen)))
        self.count = self._count(len(groups[0]), groups[0].device)  # [N]
        self.pair_count = int(self.count.sum())  # of the relation, the N with oneself included
        self.unique = self.pair_count == len(groups[0])

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

    def fill(self, block: Tensor, index: Tensor | slice, value: float) -> Tensor:
        """Write `value` where the items `index` [n] and all N items are the same: block [n, N], in place."""
        if isinstance(index, slice):
            index = torch.arange(len(self.count), device=block.device)[index]
        if self.unique:
            block[torch.arange(len(index), device=index.device), index] = value
            return block
        for group in self.groups:
            block.masked_fill_(group[index].unsqueeze(1) == group, value)
        return block

    def pairs(self) -> tuple[Tensor, Tensor]:
        """All (i, j) that are the same, i = j included, each once: two index tensors of `pair_count` entries."""
        found_i, found_j = [], []
        for number, group in enumerate(self.groups):
            i, j = _pairs_within(group)
            for earlier in self.groups[:number]:  # told there already
                new = earlier[i] != earlier[j]
                i, j = i[new], j[new]
            found_i.append(i)
            found_j.append(j)
        return torch.cat(found_i), torch.cat(found_j)


def _joint(groups: tuple[Tensor, ...]) -> Tensor:
    """The group index [N] of being the same in all of them."""
    joint = groups[0]
    for group in groups[1:]:
        joint = torch.unique(joint * len(group) + group, return_inverse=True)[1]
    return joint


def _pairs_within(group: Tensor) -> tuple[Tensor, Tensor]:
    """All (i, j) with group_i = group_j."""
    order = torch.argsort(group)  # members of a group lie together
    sizes = torch.bincount(group)
    starts = sizes.cumsum(0) - sizes
    size = sizes[group]  # per item
    i = torch.repeat_interleave(torch.arange(len(group), device=group.device), size)
    within = torch.arange(len(i), device=group.device) - torch.repeat_interleave(size.cumsum(0) - size, size)
    return i, order[starts[group[i]] + within]
