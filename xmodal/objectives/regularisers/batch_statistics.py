"""Means, variances and products of embeddings over the batch of all processes, from each one's own rows.

Gradients are exact on any number of processes (see `distributed.py`). Axes: N gathered batch, n own rows, D embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from xmodal.batch import Embeddings
from xmodal.distributed import all_sum
from xmodal.objectives.engine.tiles import sum_type


def own_pair(embeddings: Embeddings, what: str, sides: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Own rows [n, D] of "z" or "raw": of one side its first two views, of two sides the first view of each.

    In fp32, or float64 where one of them is.
    """
    given = getattr(embeddings, what)
    first, second = (given(sides[0], 0), given(sides[0], 1)) if len(sides) == 1 else (given(side) for side in sides)
    dtype = sum_type(first, second)
    return first[embeddings.local].to(dtype), second[embeddings.local].to(dtype)


def centred(x: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Own rows x [n, D] less the mean over all `total` rows, and the mean of their squares over those [D]."""
    x = x - all_sum(x.sum(0)) / total
    return x, all_sum(x.square().sum(0)) / total


def product(x: Tensor, y: Tensor) -> Tensor:
    """`x^T y` over the rows of all processes [D, D]."""
    return all_sum(x.T @ y)


def off_diagonal(square: Tensor) -> Tensor:
    """A square matrix with zeros on its diagonal."""
    return square - torch.diag(square.diagonal())
