"""SigLIP's pairwise sigmoid loss (2303.15343), and its kernel-weighted form."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from xmodal.batch import Embeddings, Loss
from xmodal.config.kinds import KERNELS
from xmodal.config.schedule import Number, Scheduled
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.pairwise_sigmoid import softplus_sum
from xmodal.objectives.engine.second_order import is_twice_differentiable
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.functional import target_statistics
from xmodal.objectives.kernels import ONE_HOT, Kernel
from xmodal.objectives.objective import About, ScaledObjective
from xmodal.same_items import SameItems


class SigLIP(ScaledObjective):
    """`L = -(1/N) sum_ij [ w_ij log sigmoid(l_ij) + (1 - w_ij) log sigmoid(-l_ij) ]`, `l_ij = s a_i.k_j + b`.

    Without a kernel w is 1 on pairs and on equal items, 0 elsewhere: SigLIP. With a kernel w comes from the frozen
    side's features, as CWCL's weights do, and is not normalised: a variant of ours (reports say "SigLIP (power 4)").
    As computed, `(1/N) [ sum_ij softplus(l_ij) - sum_ij w_ij l_ij ]`: the first sum streams over tiles, the second is
    `s sum_i a_i.(W k)_i + b sum_ij w_ij`, without N x N where the kernel factorises.

    Example:
        SigLIP()(embeddings, "image", "text").value.backward()
    """

    class Spec(ScaledObjective.Spec):
        """Where temperature and bias start (SigLIP: 0.1 and -10), and the kernel of the weighted form."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.1
        bias: float = -10.0  # where the learnable bias b starts
        kernel: Annotated[Kernel, KERNELS] | None = None  # none: 1 on pairs and equal items

    spec: Spec
    about = About(
        source="2303.15343",
        use="batches small or very large: no pair's loss depends on the others",
        cost="logits in tiles: O(N D) memory",
    )

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.kernel = self.spec.kernel or ONE_HOT
        self.bias = nn.Parameter(torch.tensor([self.spec.bias]), requires_grad=self.spec.learnable)

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss between two sides; parts beside the targets' statistics: `loss`, `temperature`, `bias`."""
        trainable, frozen = sides
        a, k, guide = embeddings.z(trainable), embeddings.z(frozen), embeddings.guide(frozen)
        dtype = sum_type(a, k)
        a, k, g = a.to(dtype), k.to(dtype), guide.detach().to(dtype)
        s, b = self.logit_scale(embeddings.clock).reshape(()).to(dtype), self.bias.reshape(()).to(dtype)
        local, n = embeddings.local, max(len(embeddings), 1)
        same = embeddings.same(trainable, frozen)
        pull, mass = self._attraction(a, k, g, same, local)
        own = softplus_sum(a[local], k, s, b) - s * pull - b * mass
        with torch.no_grad():
            parts = {"loss": all_sum(own.reshape(1))[0] / n, "temperature": 1 / s, "bias": b.clone()}
            parts |= target_statistics(self.kernel, g, same)
        return Loss(value=own * (world_size() / n), parts=parts)

    def _attraction(self, a: Tensor, k: Tensor, guide: Tensor, same: SameItems, local: slice) -> tuple[Tensor, Tensor]:
        """(sum_ij w_ij a_i.k_j, sum_ij w_ij) over own rows i; where k trains too it gets `W^T a` at its own rows."""
        if is_twice_differentiable():
            w = self.kernel.weight_rows(guide, same, torch.arange(len(guide), device=guide.device)[local])
            return (a[local] * (w @ k)).sum(), w.sum()
        both_train = k.requires_grad and torch.is_grad_enabled()
        keys = torch.cat([k.detach(), k.new_ones(len(k), 1)], dim=1)  # the column of ones makes the weights' sums
        left = (a.detach(),) if both_train else ()
        (pulled,), mirrored = self.kernel.products(guide, same, local, (keys,), left, normalise=False)
        pull = (a[local] * pulled[:, :-1]).sum()
        for mirror in mirrored:
            from_k = (k[local] * mirror).sum()
            pull = pull + (from_k - from_k.detach())
        return pull, pulled[:, -1].sum()
