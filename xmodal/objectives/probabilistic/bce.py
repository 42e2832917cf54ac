"""Binary cross-entropy: each pair of the batch is told alike or not alike (2010.05113)."""

from typing import Annotated, Any

import torch
from torch import nn

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.objective import About
from xmodal.objectives.probabilistic.scored_pairs import ScoredPairsObjective


class BCE(ScoredPairsObjective):
    """`L = -mean_ij [ y_ij log sigmoid(l_ij) + (1 - y_ij) log sigmoid(-l_ij) ]`, `l_ij = s score(a_i, k_j) + b`.

    y is 1 on pairs and equal items. `balanced`, the default: half the mean over those plus half the mean over the
    others; else pairs weigh 1/N of the whole, and in a large batch all embeddings are pushed into "not alike".

    Example:
        BCE()(embeddings, "speech", "text").value.backward()
    """

    class Spec(ScoredPairsObjective.Spec):
        """Where temperature and bias start, and the weights of the two kinds of pairs."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.1
        bias: float = 0.0  # where the bias b starts
        balanced: bool = True

    spec: Spec
    about = About(
        source="2010.05113",
        use="the score itself should say how likely two items belong together",
        cost="N x N scores in blocks",
    )

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.bias = nn.Parameter(torch.tensor([self.spec.bias]), requires_grad=self.spec.learnable)

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `temperature`, `bias`."""
        seen = self.compared(embeddings, sides)
        s = self.logit_scale(embeddings.clock).reshape(()).to(seen.keys.dtype)
        b = self.bias.reshape(()).to(seen.keys.dtype)
        sums = self.sums(seen, s, b)
        every, alike = len(embeddings) ** 2, seen.same.pair_count
        divisors = (2 * alike, 2 * (every - alike)) if self.spec.balanced else (every, every)
        share = (sums.own + sums.equal) / max(divisors[0], 1) + sums.negative / max(divisors[1], 1)
        loss = all_sum(share.detach().reshape(1))[0]
        parts = {"loss": loss, "temperature": 1 / s.detach(), "bias": b.detach().clone()}
        return Loss(share * world_size(), parts)
