"""What a backbone gives before it pools: a sequence of features for each item, padded.

Axes: B items, T steps (frames of audio, patches of an image, tokens of a text), G features of a step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Frames(NamedTuple):
    """Padded sequences. Steps beyond an item's length hold anything, and mean nothing."""

    values: Tensor  # [B, T, G]
    lengths: Tensor  # [B] int64, steps that count, one at least

    def mask(self) -> Tensor:
        """[B, T] bool, true where a step counts."""
        return torch.arange(self.values.shape[1], device=self.values.device) < self.lengths[:, None]

    def each(self) -> list[Tensor]:
        """The items' own steps, [T_i, G] each."""
        return [row[: int(length)] for row, length in zip(self.values, self.lengths, strict=True)]


def padded(rows: Sequence[np.ndarray]) -> Frames:
    """Sequences [T_i, G] as one batch, float32, zeros beyond each.

    Example:
        padded([np.zeros((3, 8)), np.zeros((5, 8))]).values.shape  # [2, 5, 8]
    """
    lengths = [len(row) for row in rows]
    values = np.zeros((len(rows), max(lengths), rows[0].shape[1]), np.float32)
    for place, row in zip(values, rows, strict=True):
        place[: len(row)] = row
    return Frames(torch.from_numpy(values), torch.tensor(lengths))


def all_of(values: Tensor) -> Frames:
    """Sequences [B, T, G] of one length, such as an image's patches."""
    return Frames(values, torch.full((len(values),), values.shape[1], device=values.device))
