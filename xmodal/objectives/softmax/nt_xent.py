"""NT-Xent, SimCLR's loss between two views (2002.05709, equation 1)."""

from typing import Annotated

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.comparisons import PairOrViews, pair_of
from xmodal.objectives.engine.masked_rows import masked_row_logsumexp
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import About, ScaledObjective


class NTXent(ScaledObjective):
    """`L = -(1/2N) sum_i log( exp(s z_i.z_i') / sum_{j != i} exp(s z_i.z_j) )` over the 2N views z of N items.

    On one side the views are its two training views (SimCLR; added to InfoNCE it is SLIP, 2112.12750). On two sides
    each item's two sides are the views: every other item of either side is a negative. Views of equal items (equal
    item ids) are left out of the sum, but for the positive itself.

    Example:
        NTXent(temperature=0.1)(Embeddings.of(image=[z1, z2]), "image").value.backward()
    """

    class Spec(PairOrViews, ScaledObjective.Spec):
        """SimCLR's temperature is fixed, 0.1 for most of its results."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.1
        learnable: bool = False

    spec: Spec
    about = About(
        source="2002.05709",
        use="one modality without labels, two views of each item; beside another term (SLIP)",
        cost="logits of 2N x 2N in blocks; a second view to encode",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss over two views; parts: `loss`, `temperature`."""
        first, second = (embeddings.z(side, view) for side, view in pair_of(sides))
        dtype = sum_type(first, second)
        first, second = first.to(dtype), second.to(dtype)
        scale = self.logit_scale(embeddings.clock).reshape(()).to(dtype)
        own, n = embeddings.local, max(len(embeddings), 1)
        same = embeddings.same(*sides)
        z = torch.cat([first, second])
        index = torch.arange(len(first), device=z.device)[own]

        def total(anchors: Tensor, positive: int) -> Tensor:
            """Sum of -log softmax over own anchors; `positive`: 0 where it is among the first views, else 1."""

            def hidden(at: slice) -> Tensor:
                rows = index[at]
                block = same.fill(z.new_zeros(len(rows), len(first)), rows, 1.0).bool()
                both = torch.cat([block, block], dim=1)
                both[torch.arange(len(rows), device=z.device), rows + positive * len(first)] = False
                return both

            pairs = (anchors[own] * (second if positive else first)[own]).sum(1)
            return (masked_row_logsumexp(anchors[own], z, scale, hidden) - scale * pairs).sum()

        share = total(first, 1) + total(second, 0)
        with torch.no_grad():
            parts = {"loss": all_sum(share.detach().reshape(1))[0] / (2 * n), "temperature": 1 / scale.detach()}
        return Loss(value=share * (world_size() / (2 * n)), parts=parts)
