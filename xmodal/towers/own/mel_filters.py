"""Triangular filters, evenly spaced on the mel scale, over the bins of a spectrum."""

import math

import torch
from torch import Tensor


def mel_filters(bins: int, low: float, high: float, mels: int, sample_rate: int) -> Tensor:
    """The weights [bins, mels] that turn a power spectrum [..., bins] from 0 Hz to half of `sample_rate` into mels.

    mel(f) = 2595 log10(1 + f / 700). Filter m rises from 0 at edge m to 1 at edge m + 1 and falls to 0 at edge m + 2;
    the mels + 2 edges are evenly spaced in mel from `low` to `high` Hz. A filter that lies between two bins is 0.

    Equal to torchaudio's `melscale_fbanks` without area normalisation; computed in float32 as there, so that features
    of older runs stay what they were.

    Example:
        mel_filters(257, 50.0, 7600.0, 64, 16_000).shape  # [257, 64]
    """
    frequencies = torch.linspace(0, sample_rate // 2, bins)[:, None]
    edges = 700 * (10 ** (torch.linspace(_mel(low), _mel(high), mels + 2) / 2595) - 1)  # Hz
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - left) / (centre - left)
    falling = (right - frequencies) / (right - centre)
    return torch.minimum(rising, falling).clamp_min(0)


def _mel(frequency: float) -> float:
    return 2595 * math.log10(1 + frequency / 700)
