"""DCL: decoupled contrastive learning, the pair out of its own denominator (2110.06848)."""

from typing import Annotated

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled
from xmodal.config.spec import Positive
from xmodal.objectives.objective import About
from xmodal.objectives.softmax.negatives import PairApart


class DCL(PairApart):
    """`L = mean_i -v_i s_ii + log sum_{j != i} e^{s_ij}`, `s_ij = s a_i.k_j`, in both directions.

    On one side a and k are two views, and j runs over both views of the other items: the paper's equation 6. v is 1;
    with `sigma` it is DCLW, `v_i = 2 - N softmax_i(a_i.k_i / sigma)`: pairs that agree already count less. Items equal
    to the anchor's are not among the j.

    Example:
        DCL(temperature=0.1)(Embeddings.of(image=[z1, z2]), "image").value.backward()
    """

    class Spec(PairApart.Spec):
        """The temperature is fixed: without the pair in the sum, a good batch's loss falls while the scale grows."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.1
        learnable: bool = False
        sigma: Positive | None = None  # DCLW's; the paper: 0.5

    spec: Spec
    about = About(
        source="2110.06848",
        use="small batches, in which a pair's own term slows InfoNCE down",
        cost="logits of N x N in blocks for each direction; of one side, twice that and a second view to encode",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss between two sides, or two views of one; parts: `loss`, `temperature`, `anchors`."""
        return self.contrast(embeddings, sides, alpha=0.0, beta=0.0, sigma=self.spec.sigma)
