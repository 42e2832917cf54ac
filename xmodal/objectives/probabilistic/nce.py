"""Noise-contrastive estimation: a pair is told from K that the noise made (1805.01978; 2010.05113)."""

import math
from typing import Annotated

from pydantic import Field

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.objective import About
from xmodal.objectives.probabilistic.scored_pairs import ScoredPairsObjective


class NCE(ScoredPairsObjective):
    """`L = mean_i [ -log h_ii - sum_j log(1 - h_ij) ]`, `h = e^l / (e^l + K p)`, `l_ij = s score(a_i, k_j)`.

    j are the K items of the batch that are not i's; p is the noise's probability of each. e^l is taken for a
    probability as it is: no constant normalises it.

    Example:
        NCE(noise=1 / 10_000)(embeddings, "speech", "text").value.backward()  # uniform over 10,000 items
    """

    class Spec(ScoredPairsObjective.Spec):
        """The noise."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.1
        noise: Annotated[float, Field(gt=0, le=1)] | None = None  # p; none: 1/N, uniform over the batch

    spec: Spec
    about = About(
        source="1805.01978, 2010.05113",
        use="scores that are log-probabilities up to the noise's",
        cost="N x N scores in blocks",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `temperature`."""
        seen, n = self.compared(embeddings, sides), max(len(embeddings), 1)
        s = self.logit_scale(embeddings.clock).reshape(()).to(seen.keys.dtype)
        negatives = (n * n - seen.same.pair_count) / n  # K, of the average anchor
        estimate = max(negatives, 1 / n) * (self.spec.noise or 1 / n)
        sums = self.sums(seen, s, s.new_tensor(-math.log(estimate)))
        share = (sums.own + sums.negative) / n
        parts = {"loss": all_sum(share.detach().reshape(1))[0], "temperature": 1 / s.detach()}
        return Loss(share * world_size(), parts)
