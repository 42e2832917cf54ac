"""The slow copy of a tower that gives targets: a momentum target, or a past checkpoint. It has no gradient.

Of a tower whose backbone never changes the head alone is copied: its features are those of the tower itself.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.batch import Clock
from xmodal.config.schedule import Number, value_at
from xmodal.towers.tower import Tower


class MomentumTarget(nn.Module):
    """The target of one tower: `xi <- m xi + (1 - m) theta` (MoCo, BYOL, ALBEF), or copied `every` so many steps.

    Args:
        tower: whose copy it is; not a part of it.
        momentum: m, between 0 and 1, or its schedule; 0 copies the tower after every step.
        every: steps between two copies of the tower; in place of `momentum`.

    Example:
        target = MomentumTarget(tower, 0.996)
        z = target.project(features)   # [B, D] unit norm, no gradient
        target.follow(tower, clock)    # after the update
    """

    def __init__(self, tower: Tower, momentum: Number | None = None, every: int | None = None) -> None:
        super().__init__()
        self.momentum, self.every = momentum, every
        self.whole = not tower.features_stay  # is the backbone copied too?
        self.copied: nn.Module = copy.deepcopy(tower if self.whole else tower.head)
        self.requires_grad_(False)

    @property
    def head(self) -> nn.Module:
        """The copied head."""
        return self.copied.head if isinstance(self.copied, Tower) else self.copied

    @torch.no_grad()
    def project(self, features: Tensor) -> Tensor:
        """[B, D], unit norm, of features [B, G]: the copied backbone's, or the tower's own where it is not `whole`."""
        raw = self.head(features.detach())
        return F.normalize(raw.to(torch.promote_types(raw.dtype, torch.float32)), dim=-1)

    @torch.no_grad()
    def follow(self, tower: Tower, clock: Clock) -> None:
        """After an update, move towards the tower; buffers (BatchNorm's statistics) are copied.

        What it does depends on the step alone, so a run that goes on after an interruption does what it would have.
        """
        if self.every is not None and (clock.step + 1) % self.every:
            return
        source = tower if self.whole else tower.head
        m = 0.0 if self.momentum is None else value_at(self.momentum, clock)
        for mine, theirs in zip(self.copied.parameters(), source.parameters(), strict=True):
            mine.lerp_(theirs, 1 - m)
        for held, given in zip(self.copied.buffers(), source.buffers(), strict=True):
            held.copy_(given)
