"""SimCon: whoever is similar enough on the guide's side is a positive too (2302.03432)."""

from typing import Annotated

from xmodal.batch import Clock
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.objectives.kernels import Kernel, Threshold
from xmodal.objectives.objective import About
from xmodal.objectives.softmax.infonce import InfoNCE
from xmodal.objectives.softmax.item_scale import ItemScaled


class SimCon(InfoNCE):
    """`L = -mean_i 1/|P(i)| sum_{p in P(i)} log softmax_j(s a_i.k_j)_p`, `P(i) = {j: g_i.g_j >= threshold}`, both ways.

    g are the guide's features. The pair itself and equal items are always in P(i), and with a threshold above 1 nothing
    else is: InfoNCE.

    Example:
        objective = SimCon(threshold=0.9)
        objective(embeddings, "image", "text").value.backward()
    """

    class Spec(ItemScaled.Spec):
        """Whoever is as similar as this is a positive."""

        threshold: Annotated[Number, Scheduled(gt=-1, le=2)] = 0.8

    spec: Spec
    about = About(
        source="2302.03432",
        use="pairs with noise or near-duplicates, whose guide's cosines tell alike items apart from the rest",
        cost="as CWCL with the threshold kernel: N x N weights in blocks",
        test="test_kernel_targets.py",
    )

    def kernel(self, clock: Clock) -> Kernel:
        """Equal weight on all that reach the threshold."""
        return Threshold(threshold=value_at(self.spec.threshold, clock))
