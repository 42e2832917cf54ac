"""What the losses on distances share: who is whose positive, and averages over the terms that are not zero.

D_ij is the Euclidean distance of two unit-norm embeddings: D^2 = 2 - 2 cos.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from xmodal.batch import Embeddings
from xmodal.config.spec import Count
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.comparisons import Comparison, across, within
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import Need, Objective


class DistanceObjective(Objective):
    """Base of `pair`, `triplet` and `margin`."""

    class Spec(Objective.Spec):
        """Who is a positive of whom, and what terms are averaged."""

        # the pair, the item's other views and equal items; labels: rows of one label too
        positives: Literal["items", "labels"] = "items"
        views: Count | None = None  # of each item, on one side; none: 2, with labels 1
        average: Literal["active", "all"] = "active"  # over the terms that are not zero, or over all of them
        takes: ClassVar[tuple[int, int]] = (1, 2)

        @model_validator(mode="after")
        def _positive(self) -> Self:
            if self.views == 1 and self.positives == "items":
                raise ValueError("views: of 1 view no item has a positive; set views: 2, or positives: labels")
            return self

        @property
        def view_count(self) -> int:
            """Views of each item, on one side."""
            return self.views or (2 if self.positives == "items" else 1)

        def needs(self, *sides: str) -> Sequence[Need]:
            """Labels where they say who is a positive; views where there is one side."""
            labels = [Need("labels")] if self.positives == "labels" else []
            one = len(sides) == 1 and self.view_count > 1
            return labels + ([Need("views", sides[0], self.view_count)] if one else [])

    spec: Spec

    def comparisons(self, embeddings: Embeddings, sides: Sequence[str], reverse: bool = False) -> list[Comparison]:
        """One side against itself, or the first of two against the second, and with `reverse` the second's too."""
        same = embeddings.same(*sides, *(["label"] if self.spec.positives == "labels" else []))
        if len(sides) == 1:
            views = [embeddings.z(sides[0], view) for view in range(self.spec.view_count)]
            return [within([view.to(sum_type(view)) for view in views], same, embeddings.local)]
        a, k = (embeddings.z(side) for side in sides)
        dtype = sum_type(a, k)
        a, k = a.to(dtype), k.to(dtype)
        return [across(*pair, same, embeddings.local) for pair in [(a, k), (k, a)][: 1 + reverse]]


def means(sums: Tensor, active: Tensor, terms: Tensor, average: str) -> tuple[Tensor, Tensor, Tensor]:
    """Means over the whole batch of several kinds of terms at once.

    Args:
        sums: [k] of this process's terms, with gradient.
        active, terms: [k] how many of them are not zero, and how many there are.
        average: "active" or "all": what the sums are divided by; a mean over nothing is 0.

    Returns:
        [k] this process's shares times the number of processes, [k] the means, [k] the share of active terms.
    """
    total, found = all_sum(sums.detach()), all_sum(torch.stack([active, terms]).detach().round().long())
    divisor = (found[0] if average == "active" else found[1]).clamp(min=1)
    return sums * world_size() / divisor, total / divisor, found[0] / found[1].clamp(min=1).to(total.dtype)
