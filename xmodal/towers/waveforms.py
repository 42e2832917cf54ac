"""Waveforms as towers take them: normalised or not, padded to batches. Axes: B items, T samples."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from xmodal.processor import Processor


def padded_waves(waves: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Waveforms [T_i] as one batch, silence after each: `{"values": [B, T] float32, "lengths": [B] samples}`."""
    lengths = [len(wave) for wave in waves]
    values = np.zeros((len(waves), max(lengths)), np.float32)
    for row, wave in zip(values, waves, strict=True):
        row[: len(wave)] = wave
    return {"values": torch.from_numpy(values), "lengths": torch.tensor(lengths)}


class WaveProcessor(Processor):
    """Waveforms for encoders without a feature extractor: as they are, or each with mean 0 and variance 1.

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
        return padded_waves(features)

    def describe(self) -> dict[str, Any]:
        """The constructor's arguments."""
        settings = {"sample_rate": self.sample_rate, "shortest": self.shortest, "normalize": self.normalize}
        return {"kind": "waveform", **settings}
