"""Softmax losses whose soft targets are given direction by direction: by a teacher, or by momentum targets.

    L = mean_i [ LSE_j(s a_i.k_j) - sum_j T_ij s a_i.k_j ]        of each direction

Input: gathered `Embeddings`, and for each direction anchors, keys and the rows of T. Output: a `Loss`. Where T is made
of one guide and serves both directions, `functional.py` does with one pass over the logits what takes two here.

Across processes each one owns its anchors; T is made of gathered rows, without communication.
Axes: N gathered batch, M keys, D embedding.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.soft_rows import Targets, soft_rows
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.functional import Reduction, row_statistics


class Direction(NamedTuple):
    """Anchors against keys; the batch's own keys are the first N, in the order of the anchors."""

    anchors: Tensor  # [N, D]
    keys: Tensor  # [M, D]
    targets: Targets  # rows of the batch [n] -> T [n, M], in fp32 or float64


def directions_loss(
    embeddings: Embeddings, scale: Tensor, directions: Sequence[Direction], reduction: Reduction
) -> Loss:
    """The loss over these directions; over anchors it is always the mean. In fp32, or float64 where one of them is.

    parts, of the whole batch: `loss`; `temperature` 1/s; `mutual_information` log M - L of the first direction's
    one-hot loss; and, means over the directions: `entropy`, `effective_positives` and `diagonal_mass` of T on at most
    64 evenly spaced anchors, `kl` the loss - H(T) (at least 0).
    """
    dtype = sum_type(*(x for direction in directions for x in direction[:2]))
    with torch.autocast(scale.device.type, enabled=False):
        s, n, local = scale.reshape(()).to(dtype), max(len(embeddings), 1), embeddings.local
        index = torch.arange(len(embeddings), device=scale.device)[local]
        sums, pairs = [], scale.new_zeros(())
        for number, (anchors, keys, targets) in enumerate(directions):
            a, k = anchors[local].to(dtype), keys.to(dtype)
            lse, pull = soft_rows(a, k, s, targets, index)
            sums.append((lse - pull).sum())
            if number == 0:
                pairs = (lse - s * (a * k[local]).sum(1)).sum().detach()
        factor = 1 / len(directions) if reduction == "mean" else 1.0
        value = torch.stack(sums).sum() * (factor * world_size() / n)
        with torch.no_grad():
            *losses, one_hot = all_sum(torch.stack([*sums, pairs])) / n
            told = [row_statistics(each.targets, len(each.keys), each.anchors.to(dtype)) for each in directions]
            parts = {
                "loss": factor * torch.stack(losses).sum(),
                "temperature": 1 / s,
                "mutual_information": math.log(max(1, len(directions[0].keys))) - one_hot,
                **{name: torch.stack([each[name] for each in told]).mean() for name in told[0]},
            }
            parts["kl"] = (torch.stack(losses).mean() - parts["entropy"]).clamp(min=0)
    return Loss(value=value, parts=parts)
