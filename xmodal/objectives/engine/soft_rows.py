"""Row softmaxes and the soft targets they are to meet, in blocks that are made again in the backward pass.

Input: anchors a [n, D], keys k [m, D], a scale, and a function that makes rows of targets. Output: two sums for each
anchor, whose difference is its cross-entropy. Memory is that of a block of logits and a block of targets.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xmodal.objectives.engine.tiles import row_blocks

Targets = Callable[[Tensor], Tensor]  # rows of the batch [n] int64 -> T [n, m], each row a distribution over the keys


def soft_rows(
    a: Tensor, k: Tensor, scale: Tensor, targets: Targets, index: Tensor, block: int | None = None
) -> tuple[Tensor, Tensor]:
    """`log sum_j exp(scale a_i.k_j)` and `sum_j T_ij scale a_i.k_j`, [n] each; T has no gradient.

    Args:
        a, k: [n, D], [m, D], of one type.
        scale: one element.
        targets: rows of the batch -> their targets. Must give the same again.
        index: [n], which rows of the batch the anchors are.
        block: elements of the logits held at a time; default: `tiles.BLOCK`.

    Example:
        lse, pull = soft_rows(a, k, scale, lambda index: torch.eye(len(k))[index], torch.arange(len(a)))
        loss = (lse - pull).mean()  # one direction of InfoNCE
    """

    def rows(part: Tensor, keys: Tensor, s: Tensor, at: Tensor) -> Tensor:
        logits = s * part @ keys.T
        with torch.no_grad():
            T = targets(at).to(logits.dtype)
        return torch.stack([logits.logsumexp(1), (T * logits).sum(1)])

    # without rows one empty block: every process's loss depends on all that is gathered
    blocks = list(row_blocks(len(a), len(k), block)) or [slice(0, 0)]
    if len(blocks) <= 1 or not torch.is_grad_enabled():
        parts = [rows(a[at], k, scale, index[at]) for at in blocks]
    else:
        parts = [checkpoint(rows, a[at], k, scale, index[at], use_reentrant=False) for at in blocks]
    lse, pull = torch.cat(parts, dim=1)
    return lse, pull
