"""OUCL, MetAug's optimization-driven unified contrastive loss (2203.05119)."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.comparisons import PairOrViews
from xmodal.objectives.metaug.pairs import Rows, anchor_rows, two_views
from xmodal.objectives.objective import About, Objective


def oucl_rows(positive: Tensor, d: Tensor, beta: float, gamma: float, detach: bool = False) -> Tensor:
    """The loss of each anchor [rows]; one without negatives has 0.

    Args:
        positive: [rows, N] bool, at least one in each row.
        d: [rows, N], `(1 + cos) / 2`.
        beta, gamma: as in `OUCL`.
        detach: the weights G carry no gradient.
    """
    up, down = (d + gamma).relu(), (1 + gamma - d).relu()
    if detach:
        up, down = up.detach(), down.detach()
    alone = positive.all(1, keepdim=True)  # hidden nowhere, then 0: a logsumexp of nothing has NaN as second derivative
    negatives = (beta * up * (d - gamma)).masked_fill(positive & ~alone, -torch.inf).logsumexp(1)
    positives = (-beta * down * (d - (1 - gamma))).masked_fill(~positive, -torch.inf).logsumexp(1)
    total = negatives + positives
    return torch.logaddexp(total, torch.zeros_like(total)).masked_fill(alone[:, 0], 0) / beta


class OUCL(Objective):
    """`mean_i (1/beta) softplus( LSE_neg[beta G-(d- - g)] + LSE_pos[-beta G+(d+ - (1 - g))] )`.

    d = (1 + cos) / 2, d+ of the anchor's positives, d- of its negatives; G- = [d- + g]_+, G+ = [1 + g - d+]_+: pairs
    that are far from where they should be weigh more (circle loss, 2002.10857). The positives of an item are its other
    side, or its other view, and those of equal items; all others are negatives. Both directions.

    Example:
        OUCL()(Embeddings.of(speech=z, text=k), "speech", "text").value.backward()
    """

    class Spec(PairOrViews):
        """MetAug's settings."""

        beta: Annotated[Number, Scheduled(gt=0)] = 16.0
        gamma: Annotated[Number, Scheduled(ge=0, le=1)] = 0.25  # g
        detach_weights: bool = False  # G without gradient, as in circle loss: the same value, slope d + g for 2 d
        reduction: Literal["mean", "sum"] = "mean"  # over the two directions

    spec: Spec
    about = About(
        source="2203.05119",
        use="several positives for an item, and all pairs of the batch in one logarithm; no temperature to choose",
        cost="distances of N x N in blocks",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`."""
        first, second = two_views(embeddings, sides)
        share = both_directions(self._rows(embeddings), first, second, embeddings, sides, self.spec.reduction)
        return Loss(share * world_size(), {"loss": all_sum(share.detach().reshape(1))[0]})

    def _rows(self, embeddings: Embeddings) -> Rows:
        beta, gamma = (value_at(number, embeddings.clock) for number in (self.spec.beta, self.spec.gamma))
        return lambda positive, d: oucl_rows(positive, d, beta, gamma, self.spec.detach_weights)


def both_directions(
    rows: Rows,
    first: Tensor,
    second: Tensor,
    embeddings: Embeddings,
    sides: Sequence[str],
    reduction: Literal["mean", "sum"],
) -> Tensor:
    """This process's share [] of `mean_i rows(i)`, each of first and second [N, D] in turn as the anchors."""
    found = [anchor_rows(rows, [pair], embeddings, sides).sum() for pair in ((first, second), (second, first))]
    total = found[0] + found[1]
    return total / (max(len(embeddings), 1) * (2 if reduction == "mean" else 1))
