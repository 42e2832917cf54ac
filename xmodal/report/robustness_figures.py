"""Pictures of prompt robustness as PNG bytes: accuracy against the number of templates, and every template by itself.

Input: plain numbers by run. Output: PNG bytes. One colour per run in both pictures, in the order given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from xmodal.report.style import SOFT, plain_axes, png_of, series_colour, shortened, title_axes

_LONGEST_TEMPLATE = 60  # characters
_FAR = 4  # times the curves' whole range: further away, chance is told and not drawn


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy over the subsets of k templates: mean, 5th and 95th percentile, the worst and the best subset."""

    k: int
    mean: float
    low: float
    high: float
    worst: float
    best: float


def template_curve(runs: Mapping[str, Sequence[CurvePoint]], title: str, chance: float | None = None) -> bytes:
    """Mean accuracy against k, one line per run: the band is 5 to 95% of the subsets, dots the best and the worst one.

    A star marks the k with the highest mean, the smallest of equals; the legend names it. The axis of k is logarithmic
    and its last tick says "all". Raises ValueError without a point.

    Example:
        png = template_curve({"cwcl": [CurvePoint(1, 0.6, 0.5, 0.7, 0.4, 0.8)]}, "CIFAR-10")
    """
    ks = sorted({point.k for points in runs.values() for point in points})
    if not ks:
        raise ValueError("no points to draw")
    figure = Figure(figsize=(8.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, points) in enumerate(runs.items()):
        colour = series_colour(index)
        k = [p.k for p in points]
        axes.fill_between(k, [p.low for p in points], [p.high for p in points], color=colour, alpha=0.15, linewidth=0)
        peak = max(points, key=lambda p: p.mean)
        called = f"{name}: peak {peak.mean:.3f} at k = {peak.k}"
        axes.plot(k, [p.mean for p in points], "-o", color=colour, markersize=4, label=called)
        axes.plot(peak.k, peak.mean, "*", color=colour, markersize=15, markeredgecolor="white", zorder=4)
        for values in ([p.best for p in points], [p.worst for p in points]):
            axes.plot(k, values, linestyle=":", marker=".", markersize=5, linewidth=0.9, color=colour)
    lowest = min(point.worst for points in runs.values() for point in points)
    span = max(point.best for points in runs.values() for point in points) - lowest
    told = "line: mean over subsets; star: its peak; band: 5 to 95%; dots: best and worst"
    if chance is not None and lowest - chance > _FAR * span:  # the line would flatten the curves
        told += f"; chance {chance:.3f}, below the picture"
    elif chance is not None:
        axes.axhline(chance, color=SOFT, linewidth=0.9, linestyle="--", label="chance")
    axes.set_xscale("log")
    axes.set_xticks(ks, [*(str(k) for k in ks[:-1]), f"all ({ks[-1]})"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False, fontsize=9)
    plain_axes(axes)
    axes.set_xlabel("templates averaged (k)")
    axes.set_ylabel("accuracy")
    title_axes(axes, title, told)
    return png_of(figure)


def template_ranking(
    templates: Sequence[str],
    runs: Mapping[str, Sequence[float]],
    intervals: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
) -> bytes:
    """Accuracy of every template alone with its 95% interval, the best of the first run on top; one colour per run.

    Args:
        templates: [T].
        runs: name -> accuracy [T].
        intervals: name -> (low, high) [T].
        title: over the picture.

    Raises ValueError where the numbers do not fit.
    """
    if not runs or any(len(values) != len(templates) for values in [*runs.values(), *intervals.values()]):
        raise ValueError(f"{len(templates)} templates: expected an accuracy and an interval for each")
    order = np.argsort(-np.asarray(next(iter(runs.values()))), kind="stable")
    figure = Figure(figsize=(8.4, 1.4 + 0.19 * len(templates) * max(1.0, 0.6 * len(runs))), layout="constrained")
    axes = figure.add_subplot()
    height = 0.7 / len(runs)
    for index, (name, values) in enumerate(runs.items()):
        colour = series_colour(index)
        places = np.arange(len(templates)) + (index - (len(runs) - 1) / 2) * height
        lows, highs = np.asarray(intervals[name], dtype=np.float64)[order].T
        axes.hlines(places, lows, highs, color=colour, linewidth=1, alpha=0.6)
        axes.plot(np.asarray(values)[order], places, "o", color=colour, markersize=4, label=name)
    axes.set_yticks(range(len(templates)), [shortened(templates[i], _LONGEST_TEMPLATE) for i in order], fontsize=7)
    axes.set_ylim(len(templates) - 0.4, -0.6)
    if len(runs) > 1:
        axes.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncol=min(4, len(runs)))
    plain_axes(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("accuracy")
    title_axes(axes, title, "each template by itself; lines: 95% intervals")
    return png_of(figure)
