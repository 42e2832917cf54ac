"""SimSiam: predict the tower's own embedding of the other view, held still (2011.10566, equation 4)."""

from typing import ClassVar, Literal

from xmodal.batch import Embeddings, Loss
from xmodal.objectives.objective import About, Objective
from xmodal.objectives.online.directions import PredictiveSpec, cosine_loss


class SimSiam(Objective):
    """`L = -mean_i cos(q(z_i), stopgrad(z'_i))`, q the predictor, z' the same tower's embedding of the other view.

    On one side both of its training views predict each other, and the loss is the mean of the two directions. On two
    sides the first predicts the second, which gets no gradient. `symmetric` says otherwise.

    Example:
        SimSiam()(Embeddings.of(image=[z1, z2], predicted={"image": [p1, p2]}), "image").value.backward()
    """

    class Spec(PredictiveSpec):
        """As the paper: the mean of both directions."""

        reduction: Literal["mean", "sum"] = "mean"
        keys: ClassVar[Literal["target", "z"]] = "z"

    spec: Spec
    about = About(
        source="2011.10566",
        use="as BYOL, without a copy of the tower; between two sides beside another term",
        cost="O(N D); a second view",
        test="test_predictive.py",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `spread` (0 where it has collapsed)."""
        return cosine_loss(embeddings, sides, self.spec, lambda cosines: -cosines)
