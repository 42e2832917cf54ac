"""Numbers out of per-item outcomes: accuracy, recall per class, confusion, and how sure they are.

Enters: numpy arrays over n items (`correct`: 0 to 1 or bool; `clusters`: which items belong together, such as the
recordings of one sentence). Leaves: numbers, arrays, one table. No files, no torch.

Intervals resample whole clusters: items of one cluster are not independent, and resampling them one by one would make
every interval too narrow. Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13 (percentile
interval); Field and Welsh (2007), Bootstrapping clustered data (the cluster bootstrap).
"""

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_DRAWS_AT_ONCE = 4_000_000  # clusters drawn at a time: 32 MB


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
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of the mean over items, by resampling whole clusters with replacement.

    A resample's mean is sum of the clusters' sums / sum of the clusters' sizes. Without `clusters` every item is its
    own. One cluster says nothing about the spread: (nan, nan). Where all items are right (or all wrong) every resample
    is the same, and the exact binomial (Clopper-Pearson) interval over the G clusters stands in:
    [((1 - level) / 2) ** (1 / G), 1]: five right out of five is not certainty.

    Args:
        correct: [n], 0 to 1.
        clusters: [n] labels of any kind.
        samples: resamples drawn.
        seed: equal seeds give equal intervals.
        level: coverage aimed at.

    Example:
        low, high = bootstrap_interval(correct, clusters=sentences)
    """
    hits = np.asarray(correct, dtype=np.float64)
    sums, counts = _per_cluster(clusters, hits)
    groups = len(counts)
    if groups < 2:
        return math.nan, math.nan
    edge = ((1 - level) / 2) ** (1 / groups)
    if (hits == 1).all():
        return float(edge), 1.0
    if (hits == 0).all():
        return 0.0, float(1 - edge)
    return _percentiles(lambda draw: sums[draw].sum(1) / counts[draw].sum(1), groups, samples, seed, level)


def paired_interval(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    clusters: ArrayLike | None = None,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of mean(a) - mean(b), two runs over the same items: every resample draws the same clusters for both.

    What makes an item hard for both runs cancels, so the interval is narrower than two separate ones suggest.
    (nan, nan) with one cluster.
    """
    difference = np.asarray(correct_a, dtype=np.float64) - np.asarray(correct_b, dtype=np.float64)
    sums, counts = _per_cluster(clusters, difference)
    if len(counts) < 2:
        return math.nan, math.nan
    return _percentiles(lambda draw: sums[draw].sum(1) / counts[draw].sum(1), len(counts), samples, seed, level)


def ratio_interval(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    clusters: ArrayLike | None = None,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of mean(a) / mean(b) over the same items, such as a run's share of its oracle's accuracy.

    Resamples in which b has nothing right have no ratio and are left out. (nan, nan) with one cluster, or where b has
    nothing right at all.
    """
    a, b = np.asarray(correct_a, dtype=np.float64), np.asarray(correct_b, dtype=np.float64)
    sums_a, counts = _per_cluster(clusters, a)
    sums_b, _ = _per_cluster(clusters, b)
    if len(counts) < 2 or not b.any():
        return math.nan, math.nan

    def ratio(draw: NDArray[np.int64]) -> Floats:
        above, below = sums_a[draw].sum(1), sums_b[draw].sum(1)
        return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)

    return _percentiles(ratio, len(counts), samples, seed, level)


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


def mean_recall(true: Sequence[Hashable] | NDArray, predicted: Sequence[Hashable] | NDArray) -> float:
    """Mean over the classes that occur in `true` of their recall (balanced accuracy); NaN over none."""
    truth, guess = np.asarray(true, dtype=object), np.asarray(predicted, dtype=object)
    recalls = [accuracy(guess[truth == label] == label) for label in set(truth)]
    return math.fsum(recalls) / len(recalls) if recalls else math.nan


def _per_cluster(clusters: ArrayLike | None, values: Floats) -> tuple[Floats, Floats]:
    """Every cluster's sum of values and number of items."""
    if clusters is None:
        return values, np.ones(len(values))
    names = pd.factorize(np.asarray(clusters))[0]  # objects of any kind, in order of appearance
    if len(names) != len(values):
        raise ValueError(f"{len(values)} items but {len(names)} clusters")
    sums = np.asarray(np.bincount(names, weights=values), dtype=np.float64)
    return sums, np.bincount(names).astype(np.float64)


def _percentiles(
    statistic: Callable[[NDArray[np.int64]], Floats], groups: int, samples: int, seed: int, level: float
) -> tuple[float, float]:
    """Percentiles of `statistic` over `samples` draws [b, groups] of cluster numbers."""
    generator = np.random.default_rng(seed)
    block = max(1, _DRAWS_AT_ONCE // groups)
    values = np.concatenate(
        [
            statistic(generator.integers(0, groups, size=(min(block, samples - start), groups)))
            for start in range(0, samples, block)
        ]
    )
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
