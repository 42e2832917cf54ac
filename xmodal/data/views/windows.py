"""Neighbouring windows of one recording as its views: what follows each other in time belongs together.

Input: a waveform and how many views. Output: so many waveforms. Sequence coherence as the source of similarity: van den
Oord et al. 2018 (1807.03748) predict what comes next; Saeed et al. 2021 (2010.10915) take two segments of one recording
for a positive pair. Axes: T samples.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xmodal.config.augment.audio import Windows

Wave = NDArray[np.float32]


def cut(wave: Wave, spec: Windows, sample_rate: int, rngs: Sequence[np.random.Generator | None]) -> list[Wave]:
    """The windows of a recording in their order, one for each generator; of one that is too short, itself.

    Args:
        wave: [T].
        spec: seconds of a window, and of the gap between two.
        sample_rate: Hz.
        rngs: of the views. The first draws where the first window begins, uniform over all places at which every
            window fits; where it is None, nothing is cut.

    Example:
        cut(wave, Windows(seconds=1.0), 16_000, [np.random.default_rng(0), np.random.default_rng(1)])
    """
    length, step, needed = samples_of(spec, sample_rate, len(rngs))
    if rngs[0] is None or len(wave) < needed:
        return [wave] * len(rngs)
    first = int(rngs[0].integers(len(wave) - needed, endpoint=True))
    return [wave[start : start + length] for start in range(first, first + step * len(rngs), step)]


def samples_of(spec: Windows, sample_rate: int, views: int) -> tuple[int, int, int]:
    """Samples of a window, from the start of one to that of the next, and of all of them with their gaps.

    Example:
        samples_of(Windows(seconds=1.0, gap=0.5), 16_000, 2)  # (16_000, 24_000, 40_000)
    """
    length = max(1, round(spec.seconds * sample_rate))
    step = length + round(spec.gap * sample_rate)
    return length, step, step * (views - 1) + length


def seen_lengths(lengths: np.ndarray, spec: Windows, sample_rate: int, views: int) -> tuple[np.ndarray, np.ndarray]:
    """Of recordings of `lengths` [n] seconds: the seconds of one view [n], and which are too short to be cut [n].

    Example:
        seen_lengths(np.array([1.5, 9.0]), Windows(seconds=1.0), 16_000, 2)  # [1.5, 1.0], [True, False]
    """
    short = np.round(lengths * sample_rate) < samples_of(spec, sample_rate, views)[2]
    return np.where(short, lengths, spec.seconds), short
