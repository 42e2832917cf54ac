"""Pictures of a report, each as PNG bytes: similarity matrices, curves, confusion, a bar per class.

Input: arrays and names. Output: PNG bytes. C classes, n items.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from xmodal.report.style import GRID, INK, SERIES, plain_axes, png_of, series_colour, shortened, title_axes

Labels = Sequence[str] | NDArray[Any]

_MOST_TICKS = 40  # class names beside a similarity matrix
_MOST_BOUNDARIES = 40  # classes, above which lines between the blocks would hide the blocks
_MOST_NUMBERS = 14  # classes, above which cells of a confusion matrix are too small for a number
_MOST_CLASSES = 60  # that are all named in a confusion picture
_LONGEST_NAME = 28  # characters


def similarity_matrix(similarity: ArrayLike, labels: Labels, title: str, rows: str = "", columns: str = "") -> bytes:
    """Cosine similarities [n, n] of items sorted by class: blocks on the diagonal where classes hang together.

    `labels` [n] names each item's class; `rows` and `columns` say what the axes are ("speech", "text"). The line
    under the title gives the mean inside and between classes. Raises ValueError on a shape that does not fit.
    """
    matrix = np.asarray(similarity, dtype=np.float64)
    if matrix.shape != (len(labels), len(labels)) or not len(labels):
        raise ValueError(f"similarity {matrix.shape} does not fit {len(labels)} labels; expected [n, n] with n > 0")
    names = np.asarray(labels, dtype=str)
    order = np.argsort(names, kind="stable")
    matrix, names = matrix[np.ix_(order, order)], names[order]
    classes, starts, sizes = np.unique(names, return_index=True, return_counts=True)

    same = names[:, None] == names[None, :]
    counted = np.isfinite(matrix) & ~np.eye(len(names), dtype=bool)  # an item with itself says nothing of its class
    inside, between = _mean(matrix[same & counted]), _mean(matrix[~same & counted])

    low, high = np.nanpercentile(matrix, [1, 99]) if np.isfinite(matrix).any() else (0.0, 1.0)
    figure = Figure(figsize=(8.4, 7.4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(matrix, cmap="viridis", vmin=low, vmax=max(high, low + 1e-6))
    if 1 < len(classes) <= _MOST_BOUNDARIES:
        for edge in starts[1:]:
            axes.axhline(edge - 0.5, color="white", linewidth=0.5, alpha=0.7)
            axes.axvline(edge - 0.5, color="white", linewidth=0.5, alpha=0.7)
    shown = _thinned(starts + (sizes - 1) / 2, len(names))
    ticks, texts = (starts + (sizes - 1) / 2)[shown], [_short(classes[i]) for i in shown]
    size = 8.5 if len(shown) <= 24 else 7
    axes.set_xticks(ticks, texts, rotation=90, fontsize=size)
    axes.set_yticks(ticks, texts, fontsize=size)
    axes.tick_params(length=2, colors=INK)
    axes.set_xlabel(columns)
    axes.set_ylabel(rows)
    title_axes(axes, title, f"mean cosine inside a class {inside:z.2f}, between classes {between:z.2f}")
    figure.colorbar(image, ax=axes, shrink=0.8, label="cosine")
    return png_of(figure)


def curves(series: Mapping[str, Sequence[tuple[float, float]]], title: str, ylabel: str, xlabel: str = "step") -> bytes:
    """Lines over training: name -> [(step, value), ...]. Values that are not finite leave a gap."""
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    drawn = {name: np.asarray(points, dtype=np.float64).reshape(-1, 2) for name, points in series.items()}
    for index, (name, points) in enumerate(drawn.items()):
        marker = "o" if len(points) <= 25 else None
        style = "-" if index < len(SERIES) else "--"
        y = np.where(np.isfinite(points[:, 1]), points[:, 1], np.nan)
        axes.plot(points[:, 0], y, style, marker=marker, markersize=4, color=series_colour(index), label=name)
    if not any(len(points) for points in drawn.values()):
        axes.text(0.5, 0.5, "nothing logged", ha="center", va="center", transform=axes.transAxes, color=INK)
    elif len(drawn) > 1:
        axes.legend(frameon=False, fontsize=9, loc="best" if len(drawn) <= 6 else "center left",
                    bbox_to_anchor=None if len(drawn) <= 6 else (1.01, 0.5))  # fmt: skip
    plain_axes(axes)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    title_axes(axes, title)
    return png_of(figure)


def confusion(true: Labels, predicted: Labels, class_names: Sequence[str], title: str = "Confusion") -> bytes:
    """Row-normalised confusion: of the items of each true class (row), the share given to each class (column).

    `class_names` gives the classes and their order; rows of classes that do not occur stay empty. Of more than 60
    classes some are named. Raises ValueError where a label is not among them.
    """
    place = {name: i for i, name in enumerate(class_names)}
    unknown = sorted((set(true) | set(predicted)) - place.keys())
    if unknown:
        raise ValueError(f"{len(unknown)} labels are not among the {len(place)} class names, first {unknown[0]!r}")
    counts = np.zeros((len(place), len(place)))
    np.add.at(counts, ([place[t] for t in true], [place[p] for p in predicted]), 1)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)

    n = len(place)
    size = float(np.clip(2.6 + 0.13 * n, 5.2, 11.0))
    figure = Figure(figsize=(size + 1.0, size + 0.4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    fontsize = float(np.clip(200 / max(n, 1), 6.5, 8.5))
    ticks = range(0, n, max(1, math.ceil(n / _MOST_CLASSES)))
    texts = [_short(class_names[i]) for i in ticks]
    axes.set_xticks(ticks, texts, rotation=90, fontsize=fontsize)
    axes.set_yticks(ticks, texts, fontsize=fontsize)
    if n <= _MOST_CLASSES:
        axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=GRID, linewidth=0.4)
    axes.tick_params(which="both", length=0)
    if n <= _MOST_NUMBERS:
        for i, j in zip(*np.nonzero(counts), strict=True):
            share = shares[i, j]
            axes.text(j, i, f"{share:.2f}".removeprefix("0") if share < 1 else "1", ha="center", va="center",
                      fontsize=7.5, color="white" if share > 0.55 else INK)  # fmt: skip
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    title_axes(axes, title, f"{len(true)} items; each row sums to 1")
    figure.colorbar(image, ax=axes, shrink=0.6, aspect=35, label="share of the true class")
    return png_of(figure)


def _thinned(places: NDArray[np.float64], extent: int) -> list[int]:
    """The classes whose names have room: no two closer than 1/40 of the axis."""
    chosen: list[int] = []
    for index, place in enumerate(places):
        if not chosen or place - places[chosen[-1]] >= extent / _MOST_TICKS:
            chosen.append(index)
    return chosen


def _short(name: object) -> str:
    return shortened(name, _LONGEST_NAME)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan
