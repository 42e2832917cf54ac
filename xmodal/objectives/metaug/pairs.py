"""Distances of anchors to positives and negatives, a few rows at a time: what the losses of this family are made of.

Axes: N gathered batch, n this process's rows, D embedding.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xmodal.batch import Embeddings
from xmodal.objectives.engine.comparisons import pair_of
from xmodal.objectives.engine.masked_rows import by_row_blocks
from xmodal.objectives.engine.tiles import sum_type

Rows = Callable[..., Tensor]  # (positive [rows, N] bool, d [rows, N], ...) -> [rows] or [rows, c]


def two_views(embeddings: Embeddings, sides: Sequence[str]) -> tuple[Tensor, Tensor]:
    """What is compared [N, D] each: the two sides, or the two training views of the one side; fp32 or float64."""
    first, second = (embeddings.z(side, view) for side, view in pair_of(sides))
    dtype = sum_type(first, second)
    return first.to(dtype), second.to(dtype)


def anchor_rows(
    rows: Rows, pairs: Sequence[tuple[Tensor, Tensor]], embeddings: Embeddings, sides: Sequence[str]
) -> Tensor:
    """`rows(positive, d, ...)` of this process's anchors, in blocks that are made again in the backward pass.

    Args:
        rows: gets who is the same item as the anchor (equal in any side; itself too), and for each pair
            `d = (1 + anchor.key) / 2`.
        pairs: (anchors, keys) [N, D] each.
        embeddings: which rows are this process's, and who is the same item.
        sides: by which items are told apart.
    """
    same, n, device = embeddings.same(*sides), len(embeddings), pairs[0][0].device
    index = torch.arange(n, device=device)[embeddings.local]
    own = [(anchors[embeddings.local], keys) for anchors, keys in pairs]

    def made(at: slice) -> Tensor:
        mine = index[at]
        positive = same.fill(torch.zeros(len(mine), n, device=device), mine, 1.0).bool()
        return rows(positive, *[(1 + a[at] @ k.T) / 2 for a, k in own])

    return by_row_blocks(made, len(index), n * len(pairs))
