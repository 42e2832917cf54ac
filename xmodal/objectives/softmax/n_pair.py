"""The N-pair loss: softmax over dot products of embeddings that keep their length (Sohn 2016)."""

from typing import Annotated

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import About, Objective
from xmodal.objectives.softmax.negatives import apart


class NPair(Objective):
    """`L = mean_i log( 1 + sum_{j != i} exp(a_i.k_j - a_i.k_i) ) + l2 mean |x|^2`, over embeddings not normalised.

    The second mean is over the 2N embeddings x of both sides. Items equal to the anchor's are not among the j.

    Example:
        NPair()(Embeddings.of(speech=z, text=k, raw={"speech": x, "text": y}), "speech", "text").value.backward()
    """

    class Spec(Objective.Spec):
        """The penalty on lengths, and the directions."""

        l2: Annotated[Number, Scheduled(ge=0)] = 0.02
        symmetric: bool = False  # the second side's items are anchors too; the mean of both directions

    spec: Spec
    about = About(
        source="https://papers.nips.cc/paper/6200-improved-deep-metric-learning-with-multi-class-n-pair-loss-objective",
        use="embeddings whose length is to say something, such as how sure they are",
        cost="logits of N x N in blocks",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss of the first side's anchors; parts: `loss`, `l2` (the penalty), `norm` (the root of mean |x|^2)."""
        a, k = (embeddings.raw(side) for side in sides)
        dtype = sum_type(a, k)
        a, k = a.to(dtype), k.to(dtype)
        same, own, n = embeddings.same(*sides), embeddings.local, max(len(embeddings), 1)

        def total(anchors: Tensor, keys: Tensor) -> Tensor:
            """Sum over own anchors; one without negatives has log 1."""
            found = apart(anchors, keys, anchors.new_ones(()), same, own)
            return (found.total - found.pair).sum()

        pairs = (total(a, k) + total(k, a)) / 2 if self.spec.symmetric else total(a, k)
        squares = ((a[own] ** 2).sum() + (k[own] ** 2).sum()) / 2
        share = pairs + value_at(self.spec.l2, embeddings.clock) * squares
        with torch.no_grad():
            whole, square = all_sum(torch.stack([share.detach(), squares.detach()])) / n
            parts = {"loss": whole, "l2": value_at(self.spec.l2, embeddings.clock) * square, "norm": square.sqrt()}
        return Loss(value=share * (world_size() / n), parts=parts)
