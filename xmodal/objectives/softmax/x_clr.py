"""X-CLR: targets are a softmax of the guide's similarities (2407.18134)."""

from typing import Annotated

from xmodal.batch import Clock
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.objectives.kernels import Exp, Kernel
from xmodal.objectives.objective import About
from xmodal.objectives.softmax.infonce import InfoNCE
from xmodal.objectives.softmax.item_scale import ItemScaled


class XCLR(InfoNCE):
    """`L = -mean_i sum_j T_ij log softmax_j(s a_i.k_j)`, `T_i = softmax_j(g_i.g_j / tau_s)`, in both directions.

    g are the guide's features. Equal items count as cosine 1. As tau_s goes to 0 it becomes InfoNCE.

    Example:
        objective = XCLR(target_temperature=0.1)
        objective(embeddings, "image", "text").value.backward()
    """

    class Spec(ItemScaled.Spec):
        """The paper's temperatures, fixed: 0.1 for the loss and 0.1 for the targets."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.1
        learnable: bool = False
        target_temperature: Annotated[Number, Scheduled(gt=0)] = 0.1  # tau_s

    spec: Spec
    about = About(
        source="2407.18134",
        use="a guide whose cosines are trusted throughout, not only near 1",
        cost="as CWCL with the exp kernel: N x N weights in blocks",
        test="test_kernel_targets.py",
    )

    def kernel(self, clock: Clock) -> Kernel:
        """Row softmaxes at the targets' temperature."""
        return Exp(temperature=value_at(self.spec.target_temperature, clock))
