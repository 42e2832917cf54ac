"""Numbers out of per-item outcomes: accuracy, recall per class, the most frequent label, and how sure they are.

Input: numpy arrays over n items (`correct`: 0 to 1 or bool; `clusters`: which items belong together, such as the
recordings of one sentence). Output: numbers, arrays, one table. No files, no torch.

Intervals are of 95% and resample whole clusters; how resamples become limits: `resampling.py`. Axes: n items, m columns
(outcomes of the same items), G clusters.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from xmodal.evaluation.statistics.resampling import SAMPLES, TAIL, Floats, per_cluster, resampled

Interval = tuple[float, float]


def accuracy(correct: ArrayLike) -> float:
    """Share of right items; NaN over none.

    Example:
        accuracy([True, False, True, True])  # 0.75
    """
    hits = np.asarray(correct, dtype=np.float64)
    return float(hits.mean()) if hits.size else math.nan


def bootstrap_interval(
    correct: ArrayLike,
    clusters: ArrayLike | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    bounds: Interval | None = (0.0, 1.0),
    tail: float = TAIL,
) -> Interval:
    """Interval of the mean over items, by resampling whole clusters with replacement.

    A resample's mean is sum of the clusters' sums / sum of the clusters' sizes. Without `clusters` every item is its
    own. One cluster says nothing about the spread: (nan, nan).

    Where all clusters have the same mean c (all items right, say), every resample has it too, and the bootstrap would
    give an interval of width 0. The exact binomial bound takes its place (Clopper and Pearson 1934): a share of up to
    1 - e of all clusters, e = 0.025 ** (1 / G), may differ from those seen and have any mean within `bounds`, so the
    interval is [e c + (1 - e) bounds[0], e c + (1 - e) bounds[1]].

    Args:
        correct: [n].
        clusters: [n] labels of any kind.
        samples: resamples drawn.
        seed: equal seeds give equal intervals.
        bounds: what no value can leave, 0 and 1 for shares. None: not known; then clusters all alike have no interval.
        tail: what lies beyond each limit; 0.025 makes 95%, less of it an interval that stands beside others.

    Raises:
        ValueError: clusters that do not fit the items, a null among them, a mean outside `bounds`.

    Example:
        low, high = bootstrap_interval(correct, clusters=sentences)
    """
    return bootstrap_intervals(np.asarray(correct)[:, None], clusters, samples, seed, bounds, tail)[0]


def bootstrap_intervals(
    correct: ArrayLike,
    clusters: ArrayLike | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    bounds: Interval | None = (0.0, 1.0),
    tail: float = TAIL,
) -> list[Interval]:
    """`bootstrap_interval` of every column of [n, m], over one set of resamples for all: much faster."""
    columns = np.asarray(correct, dtype=np.float64)
    sums, counts = per_cluster(clusters, columns)
    groups = len(counts)
    if groups < 2:
        return [(math.nan, math.nan)] * columns.shape[1]
    value, each = columns.mean(0), sums / counts[:, None]

    def means(times: Floats) -> Floats:
        return times @ sums / (times @ counts)[:, None]

    low, high = resampled(means, value, groups, samples, seed, tail=tail)
    alike = np.ptp(each, axis=0) <= 1e-12 * np.abs(each).max(0)
    if bounds is None:
        low, high = np.where(alike, np.nan, low), np.where(alike, np.nan, high)
    else:
        if (value < bounds[0] - 1e-9).any() or (value > bounds[1] + 1e-9).any():
            raise ValueError(f"a mean of {value[0] if len(value) == 1 else value} is outside the bounds {bounds}")
        edge = tail ** (1 / groups)
        low = np.where(alike, edge * value + (1 - edge) * bounds[0], np.clip(low, *bounds))
        high = np.where(alike, edge * value + (1 - edge) * bounds[1], np.clip(high, *bounds))
    return list(zip(low.tolist(), high.tolist(), strict=True))


def paired_interval(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    clusters: ArrayLike | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of mean(a) - mean(b), two runs over the same items: every resample draws the same clusters for both.

    What makes an item hard for both runs cancels, so the interval is narrower than two separate ones suggest.
    (nan, nan) with one cluster; clusters all alike as in `bootstrap_interval`: runs that agree on every item may differ
    by 1 - 0.025 ** (1 / G) on others.
    """
    difference = np.asarray(correct_a, dtype=np.float64) - np.asarray(correct_b, dtype=np.float64)
    return bootstrap_interval(difference, clusters, samples, seed, bounds=(-1.0, 1.0))


def ratio_interval(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    clusters: ArrayLike | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of mean(a) / mean(b) over the same items, such as a run's share of its oracle's accuracy.

    Resamples in which b has nothing right have no ratio and are left out. (nan, nan) with one cluster, or where b has
    nothing right at all. Where all resamples are the same, what was not seen may be wrong in one and right in the
    other: [e a / (e b + 1 - e), (e a + 1 - e) / (e b)] with e = 0.025 ** (1 / G).
    """
    a, b = np.asarray(correct_a, dtype=np.float64), np.asarray(correct_b, dtype=np.float64)
    sums, counts = per_cluster(clusters, np.stack([a, b], axis=1))
    groups = len(counts)
    if groups < 2 or not b.any():
        return math.nan, math.nan
    above, below = a.mean(), b.mean()

    def ratio(times: Floats) -> Floats:
        both = times @ sums
        return np.divide(both[:, :1], both[:, 1:], out=np.full((len(both), 1), np.nan), where=both[:, 1:] > 0)

    if np.abs(sums[:, 0] * below - sums[:, 1] * above).max() <= 1e-12 * counts.max():  # the same ratio in each cluster
        edge = TAIL ** (1 / groups)
        return float(edge * above / (edge * below + 1 - edge)), float((edge * above + 1 - edge) / (edge * below))
    [low], [high] = resampled(ratio, np.array([above / below]), groups, samples, seed)
    return max(0.0, float(low)), float(high)


def median_interval(values: ArrayLike) -> Interval:
    """The exact 95% interval of a median: two of the values, by the binomial distribution of how many lie below it.

    Below six values no two of them hold it so often: (nan, nan).

    Example:
        median_interval(range(1, 11))  # (2.0, 9.0)
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    below = int(stats.binom.ppf(TAIL, n, 0.5)) if n else 0  # P(fewer than `below` lie under the median) <= 0.025
    if below < 1:
        return math.nan, math.nan
    return float(ordered[below - 1]), float(ordered[n - below])


def majority(labels: Sequence[Hashable] | NDArray) -> tuple[float, Hashable]:
    """(share, label) of the most frequent label: what always answering it would score. First in sort order wins a tie.

    Raises ValueError over none.
    """
    if not len(labels):
        raise ValueError("majority of no labels")
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    best = int(counts.argmax())
    return float(counts[best] / counts.sum()), names[best].item() if hasattr(names[best], "item") else names[best]


def first_argmax(scores: ArrayLike) -> tuple[NDArray[np.int64], int]:
    """The best column of every row of [n, C], the first one where several are best; and how many rows had such a tie.

    Raises ValueError on NaN: it has no place in an order.
    """
    matrix = np.asarray(scores)
    if np.isnan(matrix).any():
        raise ValueError(f"{int(np.isnan(matrix).any(axis=1).sum())} of {len(matrix)} rows have a NaN score")
    best = matrix.argmax(axis=1)
    ties = (matrix == np.take_along_axis(matrix, best[:, None], axis=1)).sum(axis=1) > 1
    return best, int(ties.sum())


def places_of(scores: ArrayLike, columns: ArrayLike) -> NDArray[np.int64]:
    """The place, from 0, of column `columns[i]` in row i of [n, C], best score first; of equal scores the first column.

    Example:
        places_of([[0.2, 0.9, 0.2]], [2])  # [2]
    """
    matrix, at = np.asarray(scores), np.asarray(columns, dtype=np.int64)
    own = np.take_along_axis(matrix, at[:, None], axis=1)
    before = (matrix == own) & (np.arange(matrix.shape[1]) < at[:, None])
    return np.asarray(((matrix > own) | before).sum(axis=1), dtype=np.int64)


def per_class_table(
    true: Sequence[Hashable] | NDArray,
    predicted: Sequence[Hashable] | NDArray,
    clusters: ArrayLike | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Recall of every class that occurs in `true`, sorted by name: columns label, n, recall, low, high (95%)."""
    truth, guess = np.asarray(true, dtype=object), np.asarray(predicted, dtype=object)
    groups = np.arange(len(truth)) if clusters is None else np.asarray(clusters)
    rows = []
    for label in sorted(set(truth)):
        mine = truth == label
        hits = guess[mine] == label
        rows.append((label, int(mine.sum()), accuracy(hits), *bootstrap_interval(hits, groups[mine], samples, seed)))
    return pd.DataFrame(rows, columns=["label", "n", "recall", "low", "high"])
