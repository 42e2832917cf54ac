"""VSE++, a hinge on similarities with the hardest negative of the batch (1707.05612)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.comparisons import Comparison, PairOrViews, across
from xmodal.objectives.engine.masked_rows import by_row_blocks
from xmodal.objectives.engine.scores import Score, Scores
from xmodal.objectives.objective import About, Objective


class VSEPP(Objective):
    """`L = mean_i max_j [m + s(a_i, k_j) - s(a_i, k_i)]_+`, and the same from k to a; j are the items that are not i's.

    `negatives: all` sums the hinges over j in place of the largest: the sum of hinges that the paper compares with.

    Example:
        VSEPP(margin=0.2)(embeddings, "image", "text").value.backward()
    """

    class Spec(PairOrViews):
        """The paper's margin, on similarities, and its hardest negatives."""

        margin: Annotated[Number, Scheduled(ge=0)] = 0.2
        negatives: Literal["hardest", "all"] = "hardest"
        score: Score = "cosine"
        reduction: Literal["mean", "sum"] = "mean"  # over the two directions

    spec: Spec
    about = About(
        source="1707.05612",
        use="retrieval, where the one nearest wrong item decides; after a loss over all negatives has warmed up",
        cost="N x N scores in blocks, twice",
    )

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.scores = Scores(self.spec.score)

    def prepare(self, groups: Sequence[tuple[str, ...]], dims: Mapping[str, int]) -> None:
        """The matrices of a bilinear score."""
        self.scores.prepare(groups, dims)

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, and `active`, the share of hinges that are not zero."""
        a, k = self.scores.embedded(embeddings, *sides)
        margin, same = value_at(self.spec.margin, embeddings.clock), embeddings.same(*sides)
        sums = sum(self._sums(across(*pair, same, embeddings.local), margin) for pair in ((a, k), (k, a)))
        assert isinstance(sums, Tensor)
        factor = (0.5 if self.spec.reduction == "mean" else 1.0) / max(len(embeddings), 1)
        loss, active, hinges = all_sum(sums.detach())
        return Loss(sums[0] * factor * world_size(), {"loss": loss * factor, "active": active / hinges.clamp(min=1)})

    def _sums(self, seen: Comparison, margin: float) -> Tensor:
        """[3] of own anchors: the sum of hinges, how many are not zero, how many there are."""
        own = self.scores.pairs(seen.anchors, seen.keys[seen.items])

        def rows(at: slice) -> Tensor:
            scores, alike = self.scores.block(seen.anchors[at], seen.keys), seen.alike(at)
            scores = scores.masked_fill(alike, -torch.inf)
            counted = ~alike
            if self.spec.negatives == "hardest":
                scores, counted = scores.amax(1, keepdim=True), counted.any(1, keepdim=True)
            hinges = (margin + scores - own[at, None]).relu()
            return torch.stack([hinges.sum(1), (hinges > 0).sum(1).to(own.dtype), counted.sum(1).to(own.dtype)], dim=1)

        return by_row_blocks(rows, len(own), len(seen.keys)).sum(0)
