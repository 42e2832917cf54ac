"""The triplet loss on squared distances (FaceNet, 1503.03832; 2010.05113)."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.objectives.energy.distance import DistanceObjective, means
from xmodal.objectives.engine.comparisons import Comparison
from xmodal.objectives.engine.masked_rows import by_row_blocks
from xmodal.objectives.engine.scores import squared_distances
from xmodal.objectives.objective import About


class Triplet(DistanceObjective):
    """`L = mean [D_ap^2 - D_an^2 + m]_+` over anchors a, their positives p and negatives n.

    negatives: `all`; `semi_hard`, those farther than the positive but within the margin; `hardest`, the nearest of each
    anchor. On two sides both are anchors in turn, and `reduction` is over these two directions.

    Example:
        Triplet(negatives="semi_hard")(embeddings, "speech", "text").value.backward()
    """

    class Spec(DistanceObjective.Spec):
        """FaceNet's margin, on squared distances."""

        margin: Annotated[Number, Scheduled(ge=0)] = 0.2
        negatives: Literal["all", "semi_hard", "hardest"] = "all"
        reduction: Literal["mean", "sum"] = "mean"  # over the two directions

    spec: Spec
    about = About(
        source="1503.03832, 2010.05113",
        use="ranking by distance: only the order of positives and negatives matters, and by how much",
        cost="negatives of each positive pair in blocks: N^2 terms of pairs, more with labels",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, and `active`, the share of triplets that are not zero."""
        margin = value_at(self.spec.margin, embeddings.clock)
        seen = self.comparisons(embeddings, sides, reverse=True)
        sums = torch.stack([self._sums(one, margin) for one in seen])  # [directions, 3]
        shares, found, active = means(sums[:, 0], sums[:, 1], sums[:, 2], self.spec.average)
        factor = 1 / len(seen) if self.spec.reduction == "mean" else 1.0
        return Loss(shares.sum() * factor, {"loss": found.sum() * factor, "active": active.mean()})

    def _sums(self, seen: Comparison, margin: float) -> Tensor:
        """[3]: the sum of own triplets, how many are not zero, how many there are."""
        anchors, positives = seen.pairs()

        def rows(at: slice) -> Tensor:
            mine = seen.anchors[anchors[at]]
            near = squared_distances(mine[:, None], seen.keys[positives[at], None])[:, 0]  # [rows, 1]
            far = squared_distances(mine, seen.keys)
            negative = ~seen._replace(items=seen.items[anchors[at]]).alike(slice(None))
            if self.spec.negatives == "hardest":
                far = far.masked_fill(~negative, torch.inf).amin(1, keepdim=True)
                negative = negative.any(1, keepdim=True)
            hinge = (near - far + margin).relu()
            if self.spec.negatives == "semi_hard":
                negative = negative & (far > near) & (hinge > 0)
            hinge = hinge.where(negative, 0)
            return torch.stack([hinge.sum(1), (hinge > 0).sum(1).to(far.dtype), negative.sum(1).to(far.dtype)], dim=1)

        return by_row_blocks(rows, len(anchors), len(seen.keys)).sum(0)
