"""Row logsumexp over keys of which some are left out, in blocks that are made again in the backward pass.

Input: anchors a [n, D], keys k [m, D], a scale, and who is hidden from whom. Output: [n]. Memory is that of one block
of logits, and the result can be differentiated twice.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xmodal.objectives.engine.tiles import row_blocks


def masked_row_logsumexp(
    a: Tensor,
    k: Tensor,
    scale: Tensor,
    hidden: Callable[[slice], Tensor],
    block: int | None = None,
    reweighted: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """`log sum_j exp(scale a_i.k_j)` [n] over the keys that are not hidden from i; -inf where all are.

    Args:
        a, k: [n, D], [m, D], of one type.
        scale: one element.
        hidden: rows -> bool [rows, m], true where a key is left out. Must give the same again.
        block: elements of the logits held at a time; default: `tiles.BLOCK`.
        reweighted: logits [rows, m], -inf where hidden -> the logits that are summed, each plus the log of its weight.

    Example:
        lse = masked_row_logsumexp(z, z, scale, lambda at: torch.eye(len(z), dtype=torch.bool)[at])  # not itself
    """

    def rows(part: Tensor, keys: Tensor, s: Tensor, at: slice) -> Tensor:
        logits = (s * part @ keys.T).masked_fill(hidden(at), -torch.inf)
        return (logits if reweighted is None else reweighted(logits)).logsumexp(1)

    blocks = list(row_blocks(len(a), len(k), block))
    if len(blocks) <= 1 or not torch.is_grad_enabled():
        parts = [rows(a[at], k, scale, at) for at in blocks]
    else:
        parts = [checkpoint(rows, a[at], k, scale, at, use_reentrant=False) for at in blocks]
    return torch.cat(parts) if parts else a.new_empty(0)
