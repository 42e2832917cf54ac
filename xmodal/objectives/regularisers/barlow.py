"""Barlow Twins: the cross-correlation of two embeddings' dimensions should be the identity (2103.03230, equation 1)."""

from typing import Annotated

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.objectives.engine.comparisons import PairOrViews
from xmodal.objectives.objective import About, Objective
from xmodal.objectives.regularisers.batch_statistics import centred, off_diagonal, own_pair, product

EPS = 1e-5  # beside the variance, as the BatchNorm of the authors' code has it


class BarlowTwins(Objective):
    """`L = sum_d (1 - C_dd)^2 + redundancy sum_{d != e} C_de^2`, `C = x^T y / N` of x and y with mean 0 and variance 1.

    Mean and variance are those of each dimension over the batch of all processes. x and y are the embeddings before
    normalisation, of two views of one side, or of two sides.

    Example:
        e = Embeddings.of(image=[z1, z2], raw={"image": [x, y]})
        BarlowTwins()(e, "image").value.backward()
    """

    class Spec(PairOrViews):
        """The weight of the off-diagonal part (lambda), a number or its schedule."""

        redundancy: Annotated[Number, Scheduled(ge=0)] = 0.005

    spec: Spec
    about = About(
        source="2103.03230",
        use="as VICReg; embeddings of many dimensions",
        cost="a D x D product: O(N D^2) time, O(N D + D^2) memory",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `invariance` (the diagonal's), `redundancy` (the rest's, without its weight)."""
        n, scaled = max(len(embeddings), 1), []
        for rows in own_pair(embeddings, "raw", sides):
            rows, squares = centred(rows, n)
            scaled.append(rows * (squares + EPS).rsqrt())
        correlation = product(*scaled) / n
        invariance = (1 - correlation.diagonal()).square().sum()
        redundancy = off_diagonal(correlation).square().sum()
        value = invariance + value_at(self.spec.redundancy, embeddings.clock) * redundancy
        parts = {"loss": value, "invariance": invariance, "redundancy": redundancy}
        return Loss(value, {name: part.detach() for name, part in parts.items()})
