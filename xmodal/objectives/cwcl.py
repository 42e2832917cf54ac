"""CWCL, the continuously weighted contrastive loss (2309.14580). See docs/objectives/cwcl.md."""

from collections.abc import Mapping

from xmodal.batch import Embeddings, Loss
from xmodal.errors import UserError
from xmodal.objectives.engine.key_bank import KeyBank
from xmodal.objectives.engine.store_targets import StoreTargets
from xmodal.objectives.functional import Anchor, Reduction, soft_target_loss
from xmodal.objectives.kernels import Affine, Kernel
from xmodal.objectives.objective import NO_BANKS, SoftmaxObjective, Source

PAPER = Affine()


class CWCL(SoftmaxObjective):
    """`L = -mean_i sum_j w_ij / sum_j w_ij  log softmax_j(s a_i.k_j)`, `w_ij = (1 + g_i.g_j) / 2`.

    The weights come from the frozen side's features g. `anchor` names the weighted direction or directions, the other
    one is plain contrastive; `kernel` other than Affine() is a variant of ours (reports say "CWCL (exp 0.1)").
    `scope` is where a trainable anchor's targets lie: among the batch's items, or in the whole store.

    Raises UserError for another anchor or scope, and for a scope "store" with frozen anchors.

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
        keys: Source = "batch",
        scope: Source = "batch",
        banks: Mapping[str, KeyBank] = NO_BANKS,
    ) -> None:
        super().__init__(
            temperature=temperature,
            learnable=learnable,
            max_scale=max_scale,
            reduction=reduction,
            keys=keys,
            banks=banks,
        )
        if anchor not in ("trainable", "frozen", "both"):
            raise UserError(f"objective.anchor: found {anchor!r}, expected 'trainable', 'frozen' or 'both'")
        if scope not in ("batch", "store"):
            raise UserError(f"objective.scope: found {scope!r}, expected 'batch' or 'store'")
        if scope == "store" and anchor != "trainable":
            raise UserError(f"objective.scope: store goes with anchor trainable, found anchor {anchor}")
        self.kernel = kernel
        self.anchor: Anchor = anchor
        self.scope: Source = scope
        self._targets: dict[str, StoreTargets] = {}

    def forward(self, embeddings: Embeddings, trainable: str, frozen: str) -> Loss:
        """The loss between two modalities, weighted by the guide features of `frozen`."""
        return soft_target_loss(
            embeddings,
            trainable,
            frozen,
            self.logit_scale(),
            self.kernel,
            anchor=self.anchor,
            reduction=self.reduction,
            bank=self.bank(frozen) if self.keys == "store" else None,
            targets=self._store_targets(frozen) if self.scope == "store" else None,
        )

    def _store_targets(self, frozen: str) -> StoreTargets:
        if frozen not in self._targets:
            self._targets[frozen] = StoreTargets(self.kernel, self.bank(frozen))
        return self._targets[frozen]
