"""What the bounds on mutual information share: the critic T = s a.k, and expectations over pairs and over negatives.

The joint distribution's samples are the pairs, the product's all (i, j) of the batch that are no equal items.
Axes: n this process's anchors (items, or positions of theirs), N items of the batch.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import softplus

from xmodal.batch import Embeddings
from xmodal.config.schedule import Number, Scheduled
from xmodal.distributed import all_logsumexp, all_sum
from xmodal.objectives.engine.comparisons import Comparison, PairOrViews, across, pair_of
from xmodal.objectives.engine.masked_rows import by_row_blocks, masked_row_logsumexp
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import ScaledObjective


class Critic:
    """T of some anchors against the batch's keys.

    Args:
        seen: anchors [n, D] and keys [N, D], unit norm.
        scale: s, one element.
        weights: [n] of the anchors; those of one item sum to 1. None: one anchor an item.
    """

    def __init__(self, seen: Comparison, scale: Tensor, weights: Tensor | None = None) -> None:
        self.seen, self.scale = seen, scale
        self.weights = torch.ones_like(seen.anchors[:, 0]) if weights is None else weights
        self.items = max(len(seen.same.count), 1)  # N
        self.negatives = self.items**2 - seen.same.pair_count  # (i, j)
        self.positive = scale * (seen.anchors * seen.keys[seen.items]).sum(1)  # [n]: T of each anchor and its own key

    def joint(self, values: Tensor) -> Tensor:
        """This process's share of the expectation over pairs of `values` [n]."""
        return (self.weights * values).sum() / self.items

    def product(self, sums: Tensor) -> Tensor:
        """This process's share of the expectation over negatives, of each anchor's sum over its own [n]."""
        return (self.weights * sums).sum() / max(self.negatives, 1)

    def row_logsumexp(self) -> Tensor:
        """`log sum_j e^T` over each anchor's negatives [n], -inf where it has none."""
        return masked_row_logsumexp(self.seen.anchors, self.seen.keys, self.scale, self.seen.alike)

    def log_mean_exp(self, rows: Tensor) -> Tensor:
        """`log E[e^T]` over the whole batch's negatives, of `row_logsumexp`; its gradient reaches every process's rows.

        Without negatives it is 0.
        """
        if not self.negatives:
            return rows.new_zeros(())
        some = self.seen.negatives > 0
        partial = (rows[some] + self.weights[some].log()).logsumexp(0)
        return all_logsumexp(partial) - math.log(self.negatives)

    def softplus_rows(self) -> tuple[Tensor, Tensor]:
        """[n] each: the sum of softplus(T) over an anchor's negatives, and `row_logsumexp` without gradient."""

        def rows(at: slice) -> Tensor:
            logits, alike = self.scale * self.seen.anchors[at] @ self.seen.keys.T, self.seen.alike(at)
            lse = logits.detach().masked_fill(alike, -torch.inf).logsumexp(1)
            return torch.stack([softplus(logits).masked_fill(alike, 0).sum(1), lse], dim=1)

        found = by_row_blocks(rows, len(self.seen.anchors), len(self.seen.keys))
        return found[:, 0], found[:, 1].detach()

    def jensen_shannon(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The JSD estimator's share of `E_joint softplus(-T) + E_product softplus(T)`, and its parts."""
        sums, rows = self.softplus_rows()
        share = self.joint(softplus(-self.positive)) + self.product(sums)
        loss = all_sum(share.detach().reshape(1))[0]
        with torch.no_grad():
            parts = {
                "loss": loss,
                "divergence": math.log(2) - loss / 2,
                "mutual_information": self.donsker_varadhan(rows),
            }
        return share, parts

    def donsker_varadhan(self, rows: Tensor) -> Tensor:
        """`E_joint T - log E_product e^T` of the whole batch, in nats; no gradient."""
        with torch.no_grad():
            return all_sum(self.joint(self.positive).reshape(1))[0] - self.log_mean_exp(rows)


class CriticObjective(ScaledObjective):
    """Base of the bounds between two sides, or two views of one."""

    class Spec(PairOrViews, ScaledObjective.Spec):
        """Where the critic's scale starts."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.1

    spec: Spec

    def critic(self, embeddings: Embeddings, sides: Sequence[str]) -> Critic:
        """T of own rows of the first side, or view, against the second."""
        a, k = (embeddings.z(side, view) for side, view in pair_of(sides))
        dtype = sum_type(a, k)
        seen = across(a.to(dtype), k.to(dtype), embeddings.same(*sides), embeddings.local)
        return Critic(seen, self.logit_scale(embeddings.clock).reshape(()).to(dtype))
