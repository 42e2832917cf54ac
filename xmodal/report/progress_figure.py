"""Quality against seconds of training, one curve per objective, each named at its end.

Input: points by name. Output: PNG bytes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from xmodal.report.style import GRID, SERIES, plain_axes, png_of, series_colour, shortened, title_axes

_STYLES = ("-", "--", ":")  # after eight colours the next
_MARKS = ("o", "s", "^")
_LONGEST = 36  # characters of a name
_APART = 0.042  # of the axis' height, between two names


def quality_against_seconds(
    series: Mapping[str, Sequence[tuple[float, float]]],
    ylabel: str,
    title: str = "Quality against seconds of training",
    intervals: Mapping[str, tuple[float, float]] | None = None,
    under: str = "",
) -> bytes:
    """A curve for every name, [(seconds, value), ...]; names stand at the right, from the best end to the worst.

    Args:
        series: name -> points, seconds rising. Without points a name is left out.
        ylabel: what the value is.
        title: over the picture.
        intervals: name -> (low, high) of its last point, drawn as an upright line.
        under: a line under the title.

    Raises:
        ValueError: no point at all.
    """
    drawn = {name: np.asarray(points, dtype=np.float64) for name, points in series.items() if len(points)}
    if not drawn:
        raise ValueError("no points to draw")
    height = max(4.8, 1.6 + 0.27 * len(drawn))
    figure = Figure(figsize=(10.4, height), layout="constrained")
    axes = figure.add_subplot()
    colours = {name: series_colour(number) for number, name in enumerate(series)}
    for name, points in drawn.items():
        turn = list(series).index(name) // len(SERIES) % len(_STYLES)
        style, mark = _STYLES[turn], _MARKS[turn]
        axes.plot(points[:, 0], points[:, 1], style, marker=mark, markersize=4, linewidth=1.8, color=colours[name])
        low, high = (intervals or {}).get(name, (np.nan, np.nan))
        if np.isfinite([low, high]).all():
            axes.vlines(points[-1, 0], low, high, color=colours[name], linewidth=1, alpha=0.6)
    axes.set_xlim(left=0)
    axes.margins(y=0.08)
    plain_axes(axes)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel(ylabel)
    title_axes(axes, title, under)
    ends = {name: points[-1] for name, points in drawn.items()}
    low, high = axes.get_ylim()
    order = sorted(ends, key=lambda name: -ends[name][1])
    places = spread([(ends[name][1] - low) / (high - low) for name in order], max(_APART, 0.2 / height))
    for name, place in zip(order, places, strict=True):
        seconds, value = ends[name]
        axes.annotate(
            f"{shortened(name, _LONGEST)}  {value:.3f}",
            (seconds, value), (1.03, place), xycoords="data", textcoords="axes fraction", fontsize=9, va="center",
            color=colours[name], annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": GRID, "linewidth": 0.8, "shrinkA": 2, "shrinkB": 4},
        )  # fmt: skip
    return png_of(figure)


def spread(places: Sequence[float], apart: float) -> list[float]:
    """Places from the top down, moved as little as it takes to be `apart` from one another.

    Those that are too close form a block around their mean (pool adjacent violators).

    Example:
        spread([0.9, 0.89, 0.2], 0.05)  # [0.92, 0.87, 0.2]
    """
    blocks: list[tuple[float, int]] = []  # mean of (place + rank * apart), members
    for rank, place in enumerate(places):
        mean, members = place + rank * apart, 1
        while blocks and blocks[-1][0] < mean:
            above, many = blocks.pop()
            mean, members = (above * many + mean * members) / (many + members), many + members
        blocks.append((mean, members))
    level = [mean for mean, members in blocks for _ in range(members)]
    return [each - rank * apart for rank, each in enumerate(level)]
