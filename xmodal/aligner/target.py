"""A momentum target: a slow copy of a tower, `xi <- m xi + (1 - m) theta` (MoCo, BYOL, ALBEF). It has no gradient.

Of a tower whose backbone never changes the head alone is copied: its features are those of the tower itself.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.batch import Clock, Rows
from xmodal.config.schedule import Number, value_at
from xmodal.towers.tower import Tower


class MomentumTarget(nn.Module):
    """The target of one tower.

    Args:
        tower: whose copy it is; not a part of it.
        momentum: m, between 0 and 1, or its schedule; 0 copies the tower after every step.

    Example:
        target = MomentumTarget(tower, 0.996)
        z = target(rows, features)   # [B, D] unit norm, no gradient
        target.follow(tower, clock)  # after the update
    """

    def __init__(self, tower: Tower, momentum: Number) -> None:
        super().__init__()
        self.momentum = momentum
        self.whole = not tower.features_stay
        self.copied: nn.Module = copy.deepcopy(tower if self.whole else tower.head)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, rows: Rows, features: Tensor) -> Tensor:
        """[B, D], unit norm. `features` [B, G] are the tower's own, of use where its backbone is locked."""
        if isinstance(self.copied, Tower):
            return self.copied(rows).z
        raw = self.copied(features.detach())
        return F.normalize(raw.to(torch.promote_types(raw.dtype, torch.float32)), dim=-1)

    @torch.no_grad()
    def follow(self, tower: Tower, clock: Clock) -> None:
        """Move towards the tower; buffers (BatchNorm's statistics) are copied."""
        source = tower if self.whole else tower.head
        m = value_at(self.momentum, clock)
        for mine, theirs in zip(self.copied.parameters(), source.parameters(), strict=True):
            mine.lerp_(theirs, 1 - m)
        for held, given in zip(self.copied.buffers(), source.buffers(), strict=True):
            held.copy_(given)
