"""Padded sequences of features: what a backbone gives before it pools, and what a head over sequences makes of it.

Axes: B items, T steps (frames of audio, patches of an image, tokens of a text), G features of a step.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """[B, steps] bool, true for the first `lengths` [B] of each row."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


class Frames(NamedTuple):
    """Padded sequences. Steps beyond an item's length hold anything, and mean nothing."""

    values: Tensor  # [B, T, G]
    lengths: Tensor  # [B] int64, steps that count, one at least

    def mask(self) -> Tensor:
        """[B, T] bool, true where a step counts."""
        return valid_steps(self.lengths, self.values.shape[1])

    def each(self) -> list[Tensor]:
        """The items' own steps, [T_i, G] each."""
        return [row[: int(length)] for row, length in zip(self.values, self.lengths, strict=True)]
