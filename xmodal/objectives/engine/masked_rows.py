"""Row by row over a matrix of logits, in blocks that are made again in the backward pass.

`by_row_blocks` is that for any function of rows; `masked_row_logsumexp` is the logsumexp over keys of which some are
left out. Memory is that of one block, and the results can be differentiated twice.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xmodal.objectives.engine.tiles import row_blocks


def by_row_blocks(make: Callable[[slice], Tensor], rows: int, columns: int, block: int | None = None) -> Tensor:
    """`make` of all rows, [rows, ...], one block of rows after another.

    Args:
        make: rows -> [rows, ...], of a matrix of so many columns. Must give the same again. It is called at least once,
            with no rows where there are none: so that every process's graph is the same.
        rows, columns: of the matrix.
        block: elements of the matrix held at a time; default: `tiles.BLOCK`.

    Example:
        nearest = by_row_blocks(lambda at: (a[at] @ k.T).amax(1), len(a), len(k))  # [n]
    """
    blocks = list(row_blocks(rows, columns, block)) or [slice(0, 0)]
    if len(blocks) == 1 or not torch.is_grad_enabled():
        return torch.cat([make(at) for at in blocks])
    return torch.cat([checkpoint(make, at, use_reentrant=False) for at in blocks])


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

    def rows(at: slice) -> Tensor:
        logits = (scale * a[at] @ k.T).masked_fill(hidden(at), -torch.inf)
        return (logits if reweighted is None else reweighted(logits)).logsumexp(1)

    return by_row_blocks(rows, len(a), len(k), block)
