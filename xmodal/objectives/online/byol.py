"""BYOL: predict what a slow copy of the tower says of the other view, without negatives (2006.07733, equation 2)."""

from xmodal.batch import Embeddings, Loss
from xmodal.objectives.objective import About, Objective
from xmodal.objectives.online.directions import PredictiveSpec, cosine_loss


class BYOL(Objective):
    """`L = mean_i [2 - 2 cos(q(z_i), z'_i)]`, q the predictor, z' the momentum target's embedding of the other view.

    On one side both of its training views predict each other, and the two directions are added. On two sides the first
    predicts the target of the second; where the second never changes it is its own target. `symmetric` says otherwise.

    Example:
        e = Embeddings.of(image=[z1, z2], predicted={"image": [p1, p2]}, target={"image": [k1, k2]})
        BYOL()(e, "image").value.backward()
    """

    class Spec(PredictiveSpec):
        """As the paper: both directions are added."""

    spec: Spec
    about = About(
        source="2006.07733",
        use="views without negatives: small batches, many alike items; between two sides beside another term",
        cost="O(N D); a second view, the target's forward pass",
        test="test_predictive.py",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `spread` (0 where it has collapsed)."""
        return cosine_loss(embeddings, sides, self.spec, lambda cosines: 2 - 2 * cosines)
