"""CWCL, the continuously weighted contrastive loss (2309.14580)."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import model_validator

from xmodal.batch import Embeddings, Loss
from xmodal.config.kinds import KERNELS
from xmodal.objectives.engine.store_targets import StoreTargets
from xmodal.objectives.functional import Anchor, soft_target_loss
from xmodal.objectives.kernels import Affine, Kernel, Threshold
from xmodal.objectives.objective import About, Need, Source
from xmodal.objectives.softmax.item_scale import ItemScaled


class CWCL(ItemScaled):
    """`L = -mean_i sum_j w_ij / sum_j w_ij  log softmax_j(s a_i.k_j)`, `w_ij = (1 + g_i.g_j) / 2`.

    The weights come from the guide's features g. `anchor` names the weighted direction or directions, the other
    one is plain contrastive; a kernel other than Affine() is a variant of ours (reports say "CWCL (exp 0.1)").

    Example:
        objective = CWCL(temperature=0.07, kernel=Perplexity(perplexity=8))
        objective(embeddings, "speech", "text").value.backward()
    """

    class Spec(ItemScaled.Spec):
        """Where the weights come from and what they weight."""

        kernel: Annotated[Kernel, KERNELS] = Affine()
        anchor: Anchor = "trainable"  # the weighted direction(s)
        scope: Source = "batch"  # where a trainable anchor's targets lie: the batch's items, or the whole store

        @model_validator(mode="after")
        def _scope(self) -> Self:
            if self.scope == "store" and self.anchor != "trainable":
                raise ValueError(f"scope: store goes with anchor trainable, found anchor {self.anchor}")
            if self.scope == "store" and isinstance(self.kernel, Threshold) and self.kernel.threshold >= 1:
                found = f"found {self.kernel.threshold:g}, which rounding lets no item reach; use 0.99"
                raise ValueError(f"scope: store goes with a threshold below 1, {found}")
            return self

        def needs(self, *sides: str) -> Sequence[Need]:
            """Targets over a store ask for one, as keys do."""
            return [*super().needs(*sides), *([Need("store", sides[1], setting="scope")] * (self.scope == "store"))]

    spec: Spec
    about = About(
        source="2309.14580",
        use="a frozen side whose features say who is similar to whom; many alike items in a batch",
        cost="as InfoNCE; other kernels than the affine one make N x N weights in blocks",
        test="test_soft_target_losses.py",
    )

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self._targets: dict[str, StoreTargets] = {}

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss between two sides, weighted by the guide features of the second."""
        trainable, frozen = sides
        return soft_target_loss(
            embeddings,
            trainable,
            frozen,
            self.scales(embeddings, frozen),
            self.spec.kernel,
            anchor=self.spec.anchor,
            reduction=self.spec.reduction,
            bank=embeddings.bank(frozen) if self.spec.keys == "store" else None,
            targets=self._store_targets(embeddings, frozen) if self.spec.scope == "store" else None,
        )

    def _store_targets(self, embeddings: Embeddings, frozen: str) -> StoreTargets:
        if frozen not in self._targets:
            self._targets[frozen] = StoreTargets(self.spec.kernel, embeddings.bank(frozen))
        return self._targets[frozen]
