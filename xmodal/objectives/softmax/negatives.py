"""A pair apart from its negatives, which may weigh more the closer they are: what DCL, HN-NCE, N-pair and SogCLR share.

    pair_i  = s a_i.k_i
    total_i = log( alpha e^{pair_i} + sum_j w_ij e^{s a_i.k_j} )
    w_ij    = M_i e^{beta s a_i.k_j} / sum_l e^{beta s a_i.k_l}

with j and l over the M_i keys that are not of the anchor's item. An anchor that has none is left out. Logits are made
in blocks of this process's rows. Axes: N gathered batch, r own anchors that have negatives, D embedding.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.comparisons import PairOrViews, pair_of
from xmodal.objectives.engine.masked_rows import masked_row_logsumexp
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import ScaledObjective
from xmodal.same_items import SameItems


class Apart(NamedTuple):
    """Of the own anchors that have negatives."""

    rows: Tensor  # [r] which of the N they are
    pair: Tensor  # [r] s a_i.k_i
    total: Tensor  # [r] log(alpha e^pair + sum w e^{s a_i.k_j})
    many: Tensor  # [r] how many negatives


def apart(
    a: Tensor,
    k: Tensor,
    scale: Tensor,
    same: SameItems,
    own: slice,
    others: Sequence[Tensor] = (),
    alpha: float = 1.0,
    beta: float = 0.0,
    detach: bool = True,
) -> Apart:
    """The pair and the total of own anchors.

    Args:
        a, k: [N, D] of one type, gathered; k_i is the positive of a_i, the k_j of all other items are negatives.
        scale: one element, s.
        same: who is no negative of whom.
        own: this process's rows.
        others: more negatives, [N, D] each, whose row i is of item i too: the anchors' own view.
        alpha, beta: how much the pair counts in the total, and how much hard negatives do.
        detach: the weights w carry no gradient.
    """
    index = torch.arange(len(a), device=a.device)
    rows = index[own]
    rows = rows[same.count[rows] < len(a)]
    keys = torch.cat([k, *others]) if others else k

    def hidden(at: slice) -> Tensor:
        block = same.fill(a.new_zeros(len(rows[at]), len(a)), rows[at], 1.0).bool()
        return block.repeat(1, 1 + len(others)) if others else block

    def reweighted(logits: Tensor) -> Tensor:
        log_weights = (beta * logits).log_softmax(1)
        return logits + (log_weights.detach() if detach else log_weights)

    many = ((len(a) - same.count[rows]) * (1 + len(others))).to(a.dtype)
    pair = scale * (a[rows] * k[rows]).sum(1)
    total = masked_row_logsumexp(a[rows], keys, scale, hidden, reweighted=reweighted if beta else None)
    if beta:
        total = total + many.log()
    if alpha:
        total = torch.logaddexp(pair + math.log(alpha), total)
    return Apart(rows, pair, total, many)


class PairApart(ScaledObjective):
    """Base of DCL and HN-NCE: both directions between two sides, or between two views of one side.

    Between two sides an anchor's negatives are the other side's embeddings of all other items; of one side they are
    both views of all other items.
    """

    class Spec(PairOrViews, ScaledObjective.Spec):
        """Settings of the two directions."""

        reduction: Literal["mean", "sum"] = "mean"  # over the two directions

    spec: Spec

    def contrast(
        self,
        embeddings: Embeddings,
        sides: Sequence[str],
        alpha: float,
        beta: float,
        detach: bool = True,
        sigma: float | None = None,
    ) -> Loss:
        """`mean_i total_i - v_i pair_i`; parts: `loss`, `temperature`, `anchors`, the share that has negatives.

        v is 1, or with `sigma` `2 - N softmax_i(a_i.k_i / sigma)`, without gradient.
        """
        first, second = (embeddings.z(side, view) for side, view in pair_of(sides))
        dtype = sum_type(first, second)
        first, second = first.to(dtype), second.to(dtype)
        scale = self.logit_scale(embeddings.clock).reshape(()).to(dtype)
        same, own, n = embeddings.same(*sides), embeddings.local, max(len(embeddings), 1)
        trust = torch.ones_like(first[:, 0])
        if sigma is not None:
            trust = 2 - len(first) * ((first * second).sum(1).detach() / sigma).softmax(0)
        share = first.new_zeros(())
        for a, k in ((first, second), (second, first)):
            others = (a,) if len(sides) == 1 else ()
            found = apart(a, k, scale, same, own, others, alpha, beta, detach)
            share = share + (found.total - trust[found.rows] * found.pair).sum()
        share = share * (0.5 if self.spec.reduction == "mean" else 1.0)
        with torch.no_grad():
            used = (same.count < len(first)).to(dtype).mean() if len(first) else share.new_zeros(())
            loss = all_sum(share.detach().reshape(1))[0] / n
            parts = {"loss": loss, "temperature": 1 / scale.detach(), "anchors": used}
        return Loss(value=share * (world_size() / n), parts=parts)
