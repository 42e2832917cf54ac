"""STRUCTURE: embeddings keep the neighbourhoods of the features they are made of (2506.16895)."""

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.tiles import row_blocks, sum_type
from xmodal.objectives.objective import About, Objective


class Structure(Objective):
    """`L = mean_i JS( softmax_j(g_i.g_j / tau), softmax_j(z_i.z_j / tau) )`, JS the Jensen-Shannon divergence.

    g are a side's features before the head, z its embeddings, both of unit norm and then less their mean over the
    batch. Two sides: the mean of both. A term beside an alignment loss, for a locked backbone with a head.

    Example:
        e = Embeddings.of(image=z, guide={"image": g})
        Structure()(e, "image").value.backward()
    """

    class Spec(Objective.Spec):
        """The temperature of both softmaxes, a number or its schedule."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.05
        takes: ClassVar[tuple[int, int]] = (1, 2)

    spec: Spec
    about = About(
        source="2506.16895",
        use="few pairs, locked backbones with heads; beside an alignment loss, with weight 10",
        cost="similarities of N x N in blocks, twice for each side",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss` (at most log 2)."""
        n = max(len(embeddings), 1) * len(sides)
        tau = value_at(self.spec.temperature, embeddings.clock)
        shares = [self._side(embeddings, side, tau) for side in sides]
        share = torch.stack(shares).sum() / n
        loss = all_sum(share.detach().reshape(1))[0]
        return Loss(share * world_size(), {"loss": loss})

    def _side(self, embeddings: Embeddings, side: str, tau: float) -> Tensor:
        """The sum of own rows' divergences."""
        z, g = embeddings.z(side), embeddings.guide(side)
        dtype = sum_type(z)
        z, g = z.to(dtype), g.to(dtype)
        z, g = z - z.mean(0), g - g.mean(0)
        own = embeddings.local
        first = range(len(z))[own].start
        total = z[own].sum() * 0  # where there are no own rows: still a gradient
        for at in row_blocks(len(z[own]), len(z)):
            rows = slice(first + at.start, first + at.stop)
            total = total + checkpoint(_divergence, z[rows], g[rows], z, g, tau, use_reentrant=False)
        return total


def _divergence(z: Tensor, g: Tensor, all_z: Tensor, all_g: Tensor, tau: float) -> Tensor:
    """The sum over some rows of the Jensen-Shannon divergence between the rows' softmaxes."""
    p, q = (g @ all_g.T / tau).log_softmax(1), (z @ all_z.T / tau).log_softmax(1)
    m = torch.logaddexp(p, q) - math.log(2)
    return (p.exp() * (p - m) + q.exp() * (q - m)).sum() / 2
