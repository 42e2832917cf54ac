"""Pictures of what a threshold does, as PNG bytes: ROC, and false accepts per hour against misses.

Input: rates by threshold. Output: PNG bytes.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from xmodal.report.style import INK, SOFT, plain_axes, png_of, series_colour, title_axes

Point = tuple[float, float]


def roc(false: ArrayLike, true: ArrayLike, at: Point, title: str, under: str = "") -> bytes:
    """Wanted items accepted against others accepted; the point in use, and the diagonal of chance.

    Args:
        false: [u] shares of the others that are accepted, rising.
        true: [u] of the wanted.
        at: (false, true) of the threshold in use.
        title: over the picture.
        under: a line under it.
    """
    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle="--")
    axes.plot(np.append(0, np.asarray(false)), np.append(0, np.asarray(true)), color=series_colour(0))
    axes.plot(*at, "o", color=INK, markersize=6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    plain_axes(axes)
    axes.set_xlabel("none of the classes, accepted")
    axes.set_ylabel("of a class, accepted")
    title_axes(axes, title, under)
    return png_of(figure)


def detection_tradeoff(per_hour: ArrayLike, missed: ArrayLike, at: Point, title: str, under: str = "") -> bytes:
    """Share of keywords missed against false accepts per hour, by threshold; the point in use.

    The hours' axis is linear up to one false accept in all, logarithmic beyond.

    Args:
        per_hour: [u] false accepts per hour.
        missed: [u] share of keywords missed.
        at: (false accepts per hour, share missed) of the threshold in use.
        title: over the picture.
        under: a line under it.
    """
    x, y = np.asarray(per_hour, dtype=np.float64), np.asarray(missed, dtype=np.float64)
    figure = Figure(figsize=(7.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.step(x, y, where="post", color=series_colour(0))
    axes.plot(*at, "o", color=INK, markersize=6)
    above = x[x > 0]
    axes.set_xscale("symlog", linthresh=float(above.min()) if len(above) else 1.0)
    axes.set_xlim(left=0)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    plain_axes(axes)
    axes.set_xlabel("false accepts per hour")
    axes.set_ylabel("keywords missed")
    title_axes(axes, title, under)
    return png_of(figure)
