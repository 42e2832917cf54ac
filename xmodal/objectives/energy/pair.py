"""The pair loss, the first contrastive loss (Hadsell, Chopra, LeCun 2006; 2010.05113)."""

from typing import Annotated

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.objectives.energy.distance import DistanceObjective, means
from xmodal.objectives.engine.masked_rows import by_row_blocks
from xmodal.objectives.engine.scores import root, squared_distances
from xmodal.objectives.objective import About


class Pair(DistanceObjective):
    """`L = mean_pos D^2/2 + mean_neg max(0, m - D)^2/2`: positives together, negatives apart up to the margin m.

    Example:
        Pair(margin=1.0)(embeddings, "speech", "text").value.backward()
    """

    class Spec(DistanceObjective.Spec):
        """The margin, a distance: at most 2 is met on the sphere."""

        margin: Annotated[Number, Scheduled(gt=0)] = 1.0

    spec: Spec
    about = About(
        source="2010.05113",
        use="pairs said to be alike or not, each by itself; distances that mean the same for all items",
        cost="N x N distances in blocks",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, and `active`, the share of negatives nearer than the margin."""
        margin = value_at(self.spec.margin, embeddings.clock)
        [seen] = self.comparisons(embeddings, sides)

        def rows(at: slice) -> Tensor:
            squares = squared_distances(seen.anchors[at], seen.keys)
            positive, alike = seen.positive(at), seen.alike(at)
            pull = squares.where(positive, 0) / 2
            push = (margin - root(squares)).relu().masked_fill(alike, 0).square() / 2
            counts = [(pull > 0).sum(1), positive.sum(1), (push > 0).sum(1), (~alike).sum(1)]
            return torch.stack([pull.sum(1), push.sum(1), *(count.to(pull.dtype) for count in counts)], dim=1)

        sums = by_row_blocks(rows, len(seen.anchors), len(seen.keys)).sum(0)
        shares, found, active = means(sums[:2], sums[[2, 4]], sums[[3, 5]], self.spec.average)
        return Loss(shares.sum(), {"loss": found.sum(), "active": active[1]})
