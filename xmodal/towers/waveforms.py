"""Waveforms as encoders without a feature extractor take them, and sequences of items that are encoded apart.

Axes: B items, T samples or steps, G features of a step.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xmodal.processor import Processor
from xmodal.towers.frames import Frames


class WaveProcessor(Processor):
    """Waveforms as they are, or each with mean 0 and variance 1.

    Args:
        sample_rate: Hz.
        shortest: samples; shorter audio is padded with silence.
        normalize: (x - mean) / sqrt(variance + 1e-5) over the item's own samples, before padding.

    Example:
        processor = WaveProcessor(16_000)
        processor.collate([processor.features(wave)])["values"].shape  # [1, T]
    """

    kind: Literal["audio"] = "audio"

    def __init__(self, sample_rate: int, shortest: int = 1, normalize: bool = False):
        self.sample_rate: int | None = sample_rate
        self.shortest, self.normalize = shortest, normalize

    def features(self, item: np.ndarray) -> np.ndarray:
        """[T] float32."""
        wave = np.asarray(item, dtype=np.float32)
        if self.normalize:
            wave = ((wave - wave.mean()) / np.sqrt(wave.var() + 1e-5)).astype(np.float32)
        return np.pad(wave, (0, max(0, self.shortest - len(wave))))

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"values": [B, T] float32, "lengths": [B] samples}`."""
        lengths = torch.tensor([len(x) for x in features])
        values = torch.zeros(len(features), int(lengths.max()))
        for row, x in zip(values, features, strict=True):
            row[: len(x)] = torch.from_numpy(x)
        return {"values": values, "lengths": lengths}

    def describe(self) -> dict[str, Any]:
        """The constructor's arguments."""
        settings = {"sample_rate": self.sample_rate, "shortest": self.shortest, "normalize": self.normalize}
        return {"kind": "waveform", **settings}


def by_length(lengths: Tensor, encode: Callable[[Tensor, int], Frames], most: int | None = None) -> Frames:
    """Encode items of one length together, without padding: for encoders that would hear it.

    Args:
        lengths: [B] of the items.
        encode: (positions [b] of items, their length) -> their sequences.
        most: items at a time.
    """
    rows: list[Tensor] = []
    parts: list[Frames] = []
    for length in lengths.unique().tolist():
        alike = (lengths == length).nonzero()[:, 0]
        for some in alike.split(most or len(alike)):
            rows.append(some)
            parts.append(encode(some, int(length)))
    steps = max(part.values.shape[1] for part in parts)
    values = torch.cat([F.pad(part.values, (0, 0, 0, steps - part.values.shape[1])) for part in parts])
    order = torch.cat(rows).argsort()
    return Frames(values[order], torch.cat([part.lengths for part in parts])[order])


def mean_of(frames: Frames) -> Tensor:
    """Mean over the steps that count, [B, G] float32."""
    values = frames.values.float().masked_fill(~frames.mask()[..., None], 0.0)
    return values.sum(1) / frames.lengths[:, None]
