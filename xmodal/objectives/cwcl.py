"""CWCL, the continuously weighted contrastive loss (2309.14580). See docs/objectives/cwcl.md."""

from xmodal.batch import Embeddings, Loss
from xmodal.errors import UserError
from xmodal.objectives.functional import Anchor, Reduction, soft_target_loss
from xmodal.objectives.kernels import Affine, Kernel
from xmodal.objectives.objective import Objective

PAPER = Affine()


class CWCL(Objective):
    """`L = -mean_i sum_j w_ij / sum_j w_ij  log softmax_j(s a_i.k_j)`, `w_ij = (1 + g_i.g_j) / 2`.

    The weights come from the frozen side's features g. `anchor` names the weighted direction or directions, the other
    one is plain contrastive; `kernel` other than Affine() is a variant of ours (reports say "CWCL (exp 0.1)").

    Raises UserError for another anchor.

    Example:
        objective = CWCL(temperature=0.07)
        objective(embeddings, "speech", "text").value.backward()
    """

    def __init__(
        self,
        kernel: Kernel = PAPER,
        anchor: Anchor = "trainable",
        temperature: float = 0.07,
        learnable: bool = True,
        max_scale: float = 100.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(temperature=temperature, learnable=learnable, max_scale=max_scale, reduction=reduction)
        if anchor not in ("trainable", "frozen", "both"):
            raise UserError(f"objective.anchor: found {anchor!r}, expected 'trainable', 'frozen' or 'both'")
        self.kernel = kernel
        self.anchor: Anchor = anchor

    def forward(self, embeddings: Embeddings, trainable: str, frozen: str) -> Loss:
        """The loss between two modalities, weighted by the guide features of `frozen`."""
        return soft_target_loss(
            embeddings, trainable, frozen, self.logit_scale(), self.kernel, anchor=self.anchor, reduction=self.reduction
        )
