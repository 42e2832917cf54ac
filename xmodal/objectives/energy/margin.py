"""The margin loss, whose boundary between positives and negatives is learned (1706.07567)."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.config.spec import Positive
from xmodal.objectives.energy.distance import DistanceObjective, means
from xmodal.objectives.engine.masked_rows import by_row_blocks
from xmodal.objectives.engine.scores import root, squared_distances
from xmodal.objectives.objective import About


class Margin(DistanceObjective):
    """`L = mean (alpha + y (D - beta))_+`, y = 1 on positives and -1 on negatives; the boundary beta is learned.

    The mean is over the two terms of every (anchor, positive, negative): as many negatives as positives, as the paper
    samples them. So each pair is weighed by how many of the other kind its anchor has.

    Example:
        Margin(beta=1.2)(embeddings, "speech", "text").value.backward()
    """

    class Spec(DistanceObjective.Spec):
        """The paper's alpha and beta, both distances."""

        margin: Annotated[Number, Scheduled(ge=0)] = 0.2  # alpha
        beta: Positive = 1.2  # where the boundary starts
        learnable: bool = True  # train beta, a parameter [1]

    spec: Spec
    about = About(
        source="1706.07567",
        use="one threshold on distances that tells alike from not alike",
        cost="N x N distances in blocks",
    )

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.beta = nn.Parameter(torch.tensor([self.spec.beta]), requires_grad=self.spec.learnable)

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `beta`, and `active`, the share of terms that are not zero."""
        alpha = value_at(self.spec.margin, embeddings.clock)
        [seen] = self.comparisons(embeddings, sides)
        beta = self.beta.reshape(()).to(seen.keys.dtype)

        def rows(at: slice) -> Tensor:
            distances = root(squared_distances(seen.anchors[at], seen.keys))
            positive, alike = seen.positive(at), seen.alike(at)
            pull = (alpha + distances - beta).relu().where(positive, 0)
            push = (alpha - distances + beta).relu().masked_fill(alike, 0)
            positives, negatives = positive.sum(1), (~alike).sum(1)
            active = negatives * (pull > 0).sum(1) + positives * (push > 0).sum(1)
            total = negatives * pull.sum(1) + positives * push.sum(1)
            return torch.stack([total, active.to(total.dtype), (2 * positives * negatives).to(total.dtype)], dim=1)

        sums = by_row_blocks(rows, len(seen.anchors), len(seen.keys)).sum(0)[:, None]
        shares, found, active = means(sums[0], sums[1], sums[2], self.spec.average)
        return Loss(shares.sum(), {"loss": found.sum(), "active": active.sum(), "beta": beta.detach().clone()})
