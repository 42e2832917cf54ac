"""Waveforms at another sample rate: band-limited interpolation in plain torch.

Input: a waveform [T] at one rate. Output: the same sound at another, cut off at 0.99 of the lower Nyquist frequency.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

CROSSINGS = 6  # zeros of the sinc on either side of an output sample; the window ends there
ROLLOFF = 0.99  # of the lower Nyquist frequency: room for the filter to fall off


@torch.no_grad()
def resample(wave: Tensor, rate: int, new_rate: int) -> Tensor:
    """Waveform [T] of floats at `rate` -> [ceil(T new_rate / rate)] at `new_rate`; silence lies around it.

    Output j lies at time j / new_rate; it is the sum over inputs i of x_i h(i / rate - j / new_rate), where
    h(t) = (b / rate) sinc(b t) cos^2(pi b t / 12) for |b t| < 6, else 0, and b = 0.99 min(rate, new_rate). That is
    torchaudio's `sinc_interp_hann`, to the bit in float32: features of older runs stay what they were.

    The kernel holds (rate + 12 rate / b) x new_rate numbers, both rates divided by their greatest common divisor.

    Example:
        resample(torch.zeros(44_100), 44_100, 16_000).shape  # [16000]
    """
    common = math.gcd(rate, new_rate)
    old, new = rate // common, new_rate // common
    kernel, reach = _kernel(old, new, wave.dtype)
    # `new` outputs span `old` inputs; the next `new` have the same weights, `old` inputs further on.
    padded = F.pad(wave, (reach, reach + old))
    phases = F.conv1d(padded[None, None], kernel[:, None], stride=old)[0]  # [new, steps]
    return phases.T.reshape(-1)[: math.ceil(len(wave) * new / old)]


@lru_cache(maxsize=16)
def _kernel(old: int, new: int, dtype: torch.dtype) -> tuple[Tensor, int]:
    """The weights [new, reach + old + reach] of an output sample per phase j / new, and the reach in input samples."""
    band = ROLLOFF * min(old, new)
    reach = math.ceil(CROSSINGS * old / band)
    inputs = torch.arange(-reach, reach + old, dtype=torch.float64) / old
    # Phases are rounded to the waveform's type and all else is float64, as in torchaudio: to the bit, or features move.
    phases = torch.arange(new, dtype=dtype) / new
    t = ((inputs - phases[:, None]) * band).clamp(-CROSSINGS, CROSSINGS)
    window = torch.cos(math.pi * t / (2 * CROSSINGS)).square()
    return (band / old * torch.sinc(t) * window).to(dtype), reach
