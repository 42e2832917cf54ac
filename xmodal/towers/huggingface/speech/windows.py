"""Overlapping windows over audio that is longer than a model hears at once, and their outputs put together again.

A cut lies in the middle of an overlap, so every step of the whole comes from the window that heard more around it.
Axes: B items, W windows, T steps of the input (samples, frames of a spectrogram), S steps of the output.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from xmodal.towers.frames import Frames

OVERLAP = 1 / 6  # of a window: 5 s of Whisper's 30


class Split(NamedTuple):
    """The windows of a batch's items, one after the other."""

    values: Tensor  # [W, T, ...]
    lengths: Tensor  # [W] int64, steps of each that lie inside its item
    counts: list[int]  # [B], windows of each item


@dataclass(frozen=True)
class Windows:
    """How long audio is split; what fits one window stays whole.

    Args:
        length: steps of a window.
        stride: steps of the input behind one step of the output.
        hop: steps from one window's start to the next, a multiple of `stride`.
    """

    length: int
    stride: int
    hop: int

    @classmethod
    def of(cls, length: int, stride: int) -> Self:
        """Windows that share `OVERLAP` with their neighbours.

        Example:
            Windows.of(3000, 2).starts(6000)  # [0, 2500, 5000]
        """
        return cls(length, stride, stride * max(1, round(length * (1 - OVERLAP) / stride)))

    def starts(self, steps: int) -> list[int]:
        """Where the windows of an item begin; the last is longer than the overlap, and may be shorter than a window."""
        return [0] if steps <= self.length else list(range(0, steps - (self.length - self.hop), self.hop))

    def split(self, values: Tensor, lengths: Tensor) -> Split:
        """Items [B, T, ...] of so many steps [B] -> their windows; what follows an item's end stays, up to a window."""
        if int(lengths.max()) <= self.length:
            return Split(values[:, : self.length], lengths, [1] * len(lengths))
        found = [(row, start) for row, steps in enumerate(lengths.tolist()) for start in self.starts(steps)]
        windows = [values[row, start : start + self.length] for row, start in found]
        inside = lengths.new_tensor([min(int(lengths[row]) - start, self.length) for row, start in found])
        counts = [len(self.starts(steps)) for steps in lengths.tolist()]
        return Split(pad_sequence(windows, batch_first=True), inside, counts)

    def join(self, outputs: Frames, counts: Sequence[int]) -> Frames:
        """The windows' outputs [W, S, G] -> the items' [B, S, G]."""
        if len(counts) == len(outputs.values):
            return outputs
        parts, items = iter(outputs.each()), list[Tensor]()
        for count in counts:
            items.append(self.joined([next(parts) for _ in range(count)]))
        return Frames(pad_sequence(items, batch_first=True), outputs.lengths.new_tensor([len(item) for item in items]))

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """The outputs [S_k, G] of one item's windows, in order, as one sequence."""
        hop = self.hop // self.stride
        half = (self.length - self.hop) // self.stride // 2
        last = len(parts) - 1
        kept = [part[half if k else 0 : hop + half if k < last else len(part)] for k, part in enumerate(parts)]
        return torch.cat(kept)
