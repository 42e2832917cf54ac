"""InfoNCE with label smoothing (1512.00567): a little of every target's mass lies evenly on all other items."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from xmodal.batch import Clock
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.config.spec import Share
from xmodal.objectives.kernels import Kernel, OneHot
from xmodal.objectives.objective import About
from xmodal.objectives.softmax.infonce import InfoNCE
from xmodal.objectives.softmax.item_scale import ItemScaled
from xmodal.same_items import SameItems


class Smoothed(OneHot):
    """`T_ij = (1 - e) / n_i` on the n_i items equal to i, itself included, and `e / (N - n_i)` on the others.

    Where there are no others all mass stays on the equal items. In products the even part is a difference of two sums,
    so there is no N x N: `T x = (1 - e) E x + e (sum_j x_j - sum_{j same as i} x_j) / (N - n_i)`.
    """

    smoothing: Share = 0.1

    def rows(self, guide: Tensor, same: SameItems, index: Tensor) -> Tensor:
        """The rows `index` [n] of T: [n, N]."""
        own, others = self._shares(same, guide)
        block = others[index].unsqueeze(1).expand(-1, len(guide)).clone()
        equal = same.fill(torch.zeros_like(block), index, 1.0).bool()
        return torch.where(equal, own[index].unsqueeze(1), block)

    def products(
        self,
        guide: Tensor,
        same: SameItems,
        local: slice,
        right: Sequence[Tensor] = (),
        left: Sequence[Tensor] = (),
        normalise: bool = True,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """`T x` and `T^T x` at this process's rows, in O(N D). T has no other form: `normalise` changes nothing."""
        with torch.no_grad():
            own, others = (share.unsqueeze(1) for share in self._shares(same, guide))
            more = own - others  # what an equal item has beyond one of the others
            forward = [(more * same.sum(x) + others * x.sum(0))[local] for x in right]
            transposed = [(same.sum(more * x) + (others * x).sum(0))[local] for x in left]
            return forward, transposed

    def _shares(self, same: SameItems, like: Tensor) -> tuple[Tensor, Tensor]:
        """(T_ij on each equal item [N], on each of the others [N])."""
        equal = same.count.to(like.dtype)
        rest = len(equal) - equal
        given = self.smoothing * (rest > 0).to(like.dtype)
        return (1 - given) / equal, given / rest.clamp(min=1)


class LabelSmoothing(InfoNCE):
    """`L = -mean_i sum_j T_ij log softmax_j(s a_i.k_j)`, T_ii = 1 - e and `T_ij = e / (N - 1)`, in both directions.

    Items with equal ids share the 1 - e. Without smoothing it is InfoNCE.

    Example:
        objective = LabelSmoothing(smoothing=0.1)
        objective(embeddings, "speech", "text").value.backward()
    """

    class Spec(ItemScaled.Spec):
        """The mass that lies off the pair."""

        smoothing: Annotated[Number, Scheduled(ge=0, le=1)] = 0.1  # e

    spec: Spec
    about = About(
        source="1512.00567",
        use="some pairs are wrong, and nothing says which",
        cost="as InfoNCE",
        test="test_kernel_targets.py",
    )

    def kernel(self, clock: Clock) -> Kernel:
        """The smoothed identity."""
        return Smoothed(smoothing=value_at(self.spec.smoothing, clock))
