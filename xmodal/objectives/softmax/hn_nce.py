"""HN-NCE: hard negatives weigh more (2301.02280)."""

from typing import Annotated

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.objectives.objective import About
from xmodal.objectives.softmax.negatives import PairApart


class HNNCE(PairApart):
    """`L = mean_i -s_ii + log( alpha e^{s_ii} + sum_{j != i} w_ij e^{s_ij} )`, `s_ij = s a_i.k_j`, in both directions.

    `w_ij = (N - 1) e^{beta s_ij} / sum_{l != i} e^{beta s_il}`: with beta 0 all are 1, and it is InfoNCE with alpha 1,
    DCL with alpha 0. Items equal to the anchor's are not among the j.

    Example:
        objective = HNNCE(beta={"schedule": "linear", "from": 0, "to": 0.5})
        objective(embeddings, "image", "text").value.backward()
    """

    class Spec(PairApart.Spec):
        """How much the pair counts among the negatives, and how much the hard ones do."""

        alpha: Annotated[Number, Scheduled(ge=0)] = 1.0
        beta: Annotated[Number, Scheduled(ge=0)] = 0.5
        detach_weights: bool = True  # the weights w carry no gradient

    spec: Spec
    about = About(
        source="2301.02280",
        use="large batches, in which most negatives are easy",
        cost="logits of N x N in blocks, for each direction",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss between two sides, or two views of one; parts: `loss`, `temperature`, `anchors`."""
        alpha, beta = (value_at(number, embeddings.clock) for number in (self.spec.alpha, self.spec.beta))
        return self.contrast(embeddings, sides, alpha, beta, self.spec.detach_weights)
