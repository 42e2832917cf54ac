"""An objective with an outer problem, for bilevel steps."""

import torch
import torch.distributed as dist
from torch import nn

from xmodal.batch import Loss
from xmodal.objectives import CWCL, Objective
from xmodal.objectives.kernels import Exp


class Weighted(Objective):
    """CWCL whose inner loss pulls a learned vector; the outer loss does without it."""

    def __init__(self, spec=None, **settings):
        super().__init__(spec, **settings)
        self.inner = CWCL(kernel=Exp(temperature=0.5), anchor="both", temperature=0.3)

    def prepare(self, groups, dims):
        self.pull = nn.Parameter(torch.linspace(-1, 1, dims["speech"]))

    def forward(self, embeddings, *sides):
        loss = self.inner(embeddings, *sides)
        own = embeddings.z(sides[0])[embeddings.local]
        extra = (own @ self.pull.to(own)).square().sum() * (loss_scale() / len(embeddings))
        return Loss(loss.value + extra, loss.parts)

    def outer_parameters(self):
        return [self.pull]

    def outer(self, embeddings, *sides):
        return self.inner(embeddings, *sides)


def loss_scale():
    return dist.get_world_size() if dist.is_initialized() else 1
