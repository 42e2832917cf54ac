"""VICReg: invariance, variance, covariance (2105.04906, equation 6)."""

from typing import Annotated

import torch

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.config.spec import Positive
from xmodal.distributed import all_sum
from xmodal.objectives.engine.comparisons import PairOrViews
from xmodal.objectives.objective import About, Objective
from xmodal.objectives.regularisers.batch_statistics import centred, off_diagonal, own_pair, product


class VICReg(Objective):
    """`L = invariance mean (x - y)^2 + variance (v(x) + v(y)) / 2 + covariance (c(x) + c(y))`.

    `v(x) = mean_d [1 - sqrt(Var_d + eps)]_+`, `c(x) = (1/D) sum_{d != e} Cov_de^2`, over the batch of all processes. x
    and y are the embeddings before normalisation, of two views of one side, or of two sides.

    Example:
        e = Embeddings.of(image=[z1, z2], raw={"image": [x, y]})
        VICReg()(e, "image").value.backward()
    """

    class Spec(PairOrViews):
        """The weights of the three parts, numbers or their schedules."""

        invariance: Annotated[Number, Scheduled(ge=0)] = 25.0
        variance: Annotated[Number, Scheduled(ge=0)] = 25.0
        covariance: Annotated[Number, Scheduled(ge=0)] = 1.0
        eps: Positive = 1e-4

    spec: Spec
    about = About(
        source="2105.04906",
        use="two views or two sides without negatives and without a copy of the tower",
        cost="two D x D products: O(N D^2) time, O(N D + D^2) memory",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, and `invariance`, `variance`, `covariance` without their weights."""
        x, y = own_pair(embeddings, "raw", sides)
        n, dims = max(len(embeddings), 1), x.shape[1]
        unbiased = max(n - 1, 1)
        invariance = all_sum((x - y).square().sum().reshape(1))[0] / (n * dims)
        variance, covariance = x.new_zeros(()), x.new_zeros(())
        for rows in (x, y):
            rows, squares = centred(rows, n)
            deviation = (squares * (n / unbiased) + self.spec.eps).sqrt()
            variance = variance + (1 - deviation).relu().mean() / 2
            covariance = covariance + off_diagonal(product(rows, rows) / unbiased).square().sum() / dims
        found = {"invariance": invariance, "variance": variance, "covariance": covariance}
        value = torch.stack([value_at(getattr(self.spec, w), embeddings.clock) * p for w, p in found.items()]).sum()
        return Loss(value, {name: part.detach() for name, part in {"loss": value, **found}.items()})
