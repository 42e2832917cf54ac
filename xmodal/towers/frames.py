"""Making padded sequences (`Frames`): of rows of any length, of items encoded one length at a time.

Axes: B items, T steps (frames of audio, patches of an image, tokens of a text), G features of a step.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xmodal.frames import Frames, valid_steps

__all__ = ["Frames", "all_of", "by_length", "mean_of", "one_batch", "padded", "valid_steps"]


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


def by_length(lengths: Tensor, encode: Callable[[Tensor, int], Frames], most: int | None = None) -> Frames:
    """Encode items of one length together, without padding: for encoders that would hear it, or see it.

    Args:
        lengths: [B] of the items.
        encode: (positions [b] of items, their length) -> their sequences.
        most: items at a time.
    """
    positions: list[Tensor] = []
    parts: list[Frames] = []
    for length in lengths.unique().tolist():
        alike = (lengths == length).nonzero()[:, 0]
        for some in alike.split(most or len(alike)):
            positions.append(some)
            parts.append(encode(some, int(length)))
    order = torch.cat(positions).argsort()
    return Frames(one_batch([part.values for part in parts])[order], torch.cat([part.lengths for part in parts])[order])


def one_batch(batches: Sequence[Tensor]) -> Tensor:
    """Batches [b_i, T_i, G] as one [B, T, G] of the longest T, zeros beyond the steps of each."""
    steps = max(batch.shape[1] for batch in batches)
    return torch.cat([F.pad(batch, (0, 0, 0, steps - batch.shape[1])) for batch in batches])


def mean_of(frames: Frames) -> Tensor:
    """Mean over the steps that count, [B, G] float32."""
    values = frames.values.float().masked_fill(~frames.mask()[..., None], 0.0)
    return values.sum(1) / frames.lengths[:, None]
