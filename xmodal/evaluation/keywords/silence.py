"""Is anybody speaking? Speech rises and falls; silence and the noise of a room do not.

Input: a waveform. Output: the spread of its level, to be compared with a threshold.
"""

import numpy as np
from numpy.typing import NDArray

FRAME, HOP = 0.025, 0.010  # seconds
LOUD, QUIET = 95, 10  # percentiles of the frames' levels
FLOOR = -90.0  # dB of full scale; below it everything is silence


def level_spread(wave: NDArray[np.float32], rate: int) -> float:
    """How far the loud parts are above the quiet ones, dB: 95th minus 10th percentile of the levels of 25-ms frames.

    Of digital silence, and of a steady tone or noise, it is near 0; of a word in a second of audio tens of dB. A level
    counts from -90 dB of full scale on.

    Args:
        wave: [T]; shorter than a frame it is one frame.
        rate: Hz.

    Example:
        level_spread(np.zeros(16000, np.float32), 16000)  # 0.0
    """
    size, hop = max(1, round(FRAME * rate)), max(1, round(HOP * rate))
    squares = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    starts = np.arange(0, max(len(wave) - size, 0) + 1, hop)
    power = (squares[np.minimum(starts + size, len(wave))] - squares[starts]) / min(size, max(len(wave), 1))
    levels = 10 * np.log10(np.maximum(power, 10 ** (FLOOR / 10)))
    loud, quiet = np.percentile(levels, [LOUD, QUIET])
    return float(loud - quiet)
