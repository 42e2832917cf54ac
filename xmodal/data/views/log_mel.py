"""Training views of log-mel features. Input: [T, F] float32, standardised per utterance. Output: another such view.

The steps come in a fixed order: speed, time_shift, mel_warp, mel_roll (what moves), floor, tilt, noise (what is added),
frequency masks, time masks (what is hidden, last, so that it stays hidden). Masks write 0, the mean of standardised
features (SpecAugment, Park et al. 2019). Axes: T frames, F mel bins.
"""

import numpy as np

from xmodal.config.augment.audio import SpeechAugment


def augment(features: np.ndarray, spec: SpeechAugment, rng: np.random.Generator) -> np.ndarray:
    """A random view [T, F] float32 of `features`, which stay as they are and are returned when `spec` is all zeros.

    - speed s: the tempo changes by a factor in [1 / (1 + s), 1 + s], log-uniform; T changes, pitch does not
    - time_shift s: the utterance moves by up to that share of its frames, earlier or later; what leaves it is lost, and
      the frame at its edge is repeated into the gap
    - mel_warp w: the mel axis is stretched by a factor in [1 / (1 + w), 1 + w] about bin 0; the top bin is repeated
    - mel_roll n: the bins move up or down by at most n; the edge bin is repeated into the gap
    - floor f: what lies below a level is raised to it, as under a noise that drowns the quiet parts; the level is
      uniform in [0, f] of the way from the lowest to the highest value; then the view is standardised again
    - tilt a: a straight line over the band is added, its rise from the lowest to the highest bin in [-a, a]
    - noise d: Gaussian noise is added, its standard deviation uniform in [0, d]
    - frequency_masks, frequency_width: so many bands of 0 to that many bins
    - time_masks, time_share: so many spans of 0 to that share of the frames

    Example:
        view = augment(features, SpeechAugment(frequency_masks=2, time_masks=2), np.random.default_rng(0))
    """
    if not spec.is_active:
        return features
    x = features.astype(np.float32)  # a copy: what is cached must not change
    if spec.speed:
        factor = _factor(spec.speed, rng)
        x = _interpolate(x, np.arange(max(1, round(len(x) / factor)), dtype=np.float32) * factor)
    if spec.time_shift:
        most = int(len(x) * spec.time_shift)
        shift = rng.integers(-most, most, endpoint=True)
        x = x[np.clip(np.arange(len(x)) - shift, 0, len(x) - 1)]
    if spec.mel_warp:
        factor = _factor(spec.mel_warp, rng)
        x = _interpolate(x.T, np.arange(x.shape[1], dtype=np.float32) / factor).T
    if spec.mel_roll:
        shift = rng.integers(-spec.mel_roll, spec.mel_roll, endpoint=True)
        x = x[:, np.clip(np.arange(x.shape[1]) - shift, 0, x.shape[1] - 1)]
    if spec.floor:
        low, high = float(x.min()), float(x.max())
        x = np.maximum(x, np.float32(low + (high - low) * rng.uniform(0, spec.floor)))
        x = (x - x.mean()) / (x.std() + np.float32(1e-5))
    if spec.tilt:
        x = x + np.linspace(-0.5, 0.5, x.shape[1], dtype=np.float32) * np.float32(rng.uniform(-spec.tilt, spec.tilt))
    if spec.noise:
        x = x + rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(0, spec.noise))
    frames, bins = x.shape
    for _ in range(spec.frequency_masks):
        x[:, _span(bins, spec.frequency_width, rng)] = 0
    for _ in range(spec.time_masks):
        x[_span(frames, int(frames * spec.time_share), rng)] = 0
    return np.ascontiguousarray(x)


def _factor(amount: float, rng: np.random.Generator) -> float:
    """Log-uniform in [1 / (1 + amount), 1 + amount]: slower is as likely as faster."""
    return float((1 + amount) ** rng.uniform(-1, 1))


def _span(length: int, widest: int, rng: np.random.Generator) -> slice:
    width = int(rng.integers(0, min(widest, length), endpoint=True))
    start = int(rng.integers(0, length - width, endpoint=True))
    return slice(start, start + width)


def _interpolate(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows of x [n, m] at fractional places `at` [k], linearly; places beyond the last row take the last row."""
    at = np.minimum(at, len(x) - 1)
    below = at.astype(np.int64)
    above = np.minimum(below + 1, len(x) - 1)
    share = (at - below).astype(np.float32)[:, None]
    return x[below] * (1 - share) + x[above] * share
