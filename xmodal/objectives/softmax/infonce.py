"""InfoNCE, CLIP's symmetric contrastive loss (2103.00020)."""

from xmodal.batch import Clock, Embeddings, Loss
from xmodal.objectives.functional import soft_target_loss
from xmodal.objectives.kernels import ONE_HOT, Kernel
from xmodal.objectives.objective import About
from xmodal.objectives.softmax.item_scale import ItemScaled


class InfoNCE(ItemScaled):
    """`L = -mean_i log softmax_j(s a_i.k_j)_i`, in both directions; items with equal ids share the target's mass.

    Example:
        objective = InfoNCE(temperature=0.07)
        objective(embeddings, "speech", "text").value.backward()
    """

    about = About(
        source="2103.00020",
        use="pairs, and no reason to think that other items of the batch are alike",
        cost="logits in tiles: O(N D) memory",
        test="test_soft_target_losses.py",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss between two sides; symmetric in them but for the log's `mutual_information`."""
        trainable, frozen = sides
        return soft_target_loss(
            embeddings,
            trainable,
            frozen,
            self.scales(embeddings, frozen),
            self.kernel(embeddings.clock),
            anchor="both",
            reduction=self.spec.reduction,
            bank=embeddings.bank(frozen) if self.spec.keys == "store" else None,
        )

    def kernel(self, clock: Clock) -> Kernel:
        """What makes the targets of both directions, at this moment; other targets are a subclass with another one."""
        return ONE_HOT
