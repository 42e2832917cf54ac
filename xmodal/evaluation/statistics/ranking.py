"""Where the right items stand when a gallery is sorted for every query, and what a random order would give.

Input: embeddings of both sides and which pairs are positives, many to many. Output: every query's rank, from which
recall@k, median, mean and intervals are made; and the closed forms of chance. Scores exist one block at a time, so
memory does not grow with n x m.

Each direction computes its own scores. One product for both would need the scores of the columns' positives before it
starts, from another product, and those differ in the last bit: a positive would then outrank, or lose to, itself.

Axes: n queries, m items of the gallery, D embedding, P positives of a query.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmodal.evaluation.statistics.resampling import SAMPLES, cluster_numbers, resampled

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DEPTH = 10  # of the mean average precision: mAP@10
BLOCK = 8_000_000  # scores at a time: 32 MB
FEWEST = 64  # queries at a time; a block of fewer makes a slow product


@dataclass(frozen=True)
class Ranks:
    """One direction of retrieval, per query. Rank 1 is the top; of equal scores the first item in the gallery wins.

    best        [n] rank of the positive that stands first
    precision   [n] average precision among the first 10: sum over positives there of (positives so far / rank),
                over min(P, 10)
    top, score  [n] the item that stands first, and its score
    positives   [n] P
    ties        queries whose best positive has the same score as an item that is no positive: their rank depends on
                the order of the gallery
    """

    best: Ints
    precision: Floats
    top: Ints
    score: Floats
    positives: Ints
    gallery: int
    ties: int

    def hits(self, k: int) -> NDArray[np.bool_]:
        """[n]: is at least one positive among the first k? Recall@k is the mean."""
        return self.best <= k


def rank(queries: Tensor, items: Tensor, positives: Ints) -> Ranks:
    """Rank `items` [m, D] for each of `queries` [n, D] by inner product.

    Args:
        queries: float32, on the CPU.
        items: the gallery.
        positives: [P_total, 2] pairs (query, item), each once; every query has at least one.

    Raises:
        ValueError: a query without a positive, a pair given twice or outside the arrays, embeddings that are not
            finite.

    Example:
        texts_to_images = rank(z_text, z_image, pairs)
        texts_to_images.hits(5).mean()  # recall@5
    """
    n, m = len(queries), len(items)
    pairs, counts = _checked(queries, items, np.asarray(positives, dtype=np.int64).reshape(-1, 2))
    starts = np.concatenate([[0], counts.cumsum()])
    best, top = np.empty(n, np.int64), np.empty(n, np.int64)
    precision, score = np.empty(n), np.empty(n)
    ties = 0
    step = min(n, max(FEWEST, BLOCK // m))
    room = torch.empty(step, m)  # every block's scores: fresh memory each time would cost as much as the product
    for start in range(0, n, step):
        stop = min(start + step, n)
        scores = torch.mm(queries[start:stop], items.T, out=room[: stop - start]).numpy()
        block = pairs[starts[start] : starts[stop]]
        at = slice(start, stop)
        best[at], precision[at], tied = _ranks(scores, block[:, 0] - start, block[:, 1], counts[at])
        top[at] = scores.argmax(1)
        score[at] = scores[np.arange(len(scores)), top[at]]
        ties += tied
    return Ranks(best, precision, top, score, counts, m, ties)


def _checked(queries: Tensor, items: Tensor, pairs: Ints) -> tuple[Ints, Ints]:
    """The pairs by query, and the number of positives of every query."""
    n, m = len(queries), len(items)
    if len(pairs) and (pairs.min() < 0 or pairs[:, 0].max() >= n or pairs[:, 1].max() >= m):
        raise ValueError(f"positives outside {n} queries and {m} items")
    if not (torch.isfinite(queries).all() and torch.isfinite(items).all()):
        raise ValueError("embeddings that are not finite have no place in an order")
    counts = np.bincount(pairs[:, 0], minlength=n).astype(np.int64)
    if n == 0 or not counts.all():
        raise ValueError(f"{int((counts == 0).sum())} of {n} queries have no positive; leave them out")
    ordered = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    if (ordered[1:] == ordered[:-1]).all(1).any():
        raise ValueError("a pair is given twice")
    return ordered, counts


def _ranks(scores: NDArray[np.float32], rows: Ints, columns: Ints, counts: Ints) -> tuple[Ints, Floats, int]:
    """Best rank and precision of every row of a block of scores [b, m], and how many rows have a tie that counts."""
    found = scores[rows, columns]
    order = np.lexsort((columns, -found, rows))  # of a row the best positive first
    columns, found = columns[order], found[order]
    first = counts.cumsum() - counts
    best, equal = _places(scores, found[first], columns[first])
    own = np.bincount(rows, weights=found == np.repeat(found[first], counts))
    precision = np.where(best <= DEPTH, 1 / best, 0.0)
    near = np.flatnonzero(best < DEPTH)
    for slot in range(1, DEPTH):  # the other positives count as long as the one before stands among the first
        near = near[counts[near] > slot]
        if not len(near):
            break
        at = first[near] + slot
        place, _ = _places(scores[near], found[at], columns[at])
        near, place = near[place <= DEPTH], place[place <= DEPTH]
        precision[near] += (slot + 1) / place
    return best, precision / np.minimum(counts, DEPTH), int((equal > own).sum())


def _places(scores: NDArray[np.float32], own: NDArray[np.float32], columns: Ints) -> tuple[Ints, Ints]:
    """Rank of the item `columns` [b], whose score is `own` [b], in each row; and how many items score the same."""
    place = 1 + np.count_nonzero(scores > own[:, None], axis=1)
    equal = np.count_nonzero(scores == own[:, None], axis=1)
    for row in np.flatnonzero(equal > 1):
        place[row] += np.count_nonzero(scores[row, : columns[row]] == own[row])
    return place.astype(np.int64), equal.astype(np.int64)


def median_rank(best: Ints) -> int:
    """The smallest rank that at least half of the queries reach: the smallest k whose recall@k is 50%."""
    return int(np.sort(best)[(len(best) - 1) // 2])


def median_rank_interval(best: Ints, clusters: NDArray, samples: int = SAMPLES, seed: int = 0) -> tuple[float, float]:
    """Interval of the median rank, by resampling whole clusters: two ranks that occur.

    (nan, nan) below six clusters: no interval of a median without further assumptions exists there.
    """
    order = np.argsort(best, kind="stable")
    ranks, members = best[order], cluster_numbers(clusters, len(best))[order]
    groups = int(members.max()) + 1

    def medians(times: Floats) -> Floats:
        found = np.empty((len(times), 1))
        for row, drawn in enumerate(times):
            reached = drawn[members].cumsum()
            found[row] = ranks[np.searchsorted(reached, (reached[-1] + 1) // 2)]
        return found

    if groups < 2:
        return math.nan, math.nan
    value = np.array([float(median_rank(best))])
    [low], [high] = resampled(medians, value, groups, samples, seed, whole=True)
    return float(low), float(high)


def chance_recall(positives: Ints, m: int, k: int) -> float:
    """Expected recall@k of a random order: the mean over queries of 1 - C(m - P, k) / C(m, k)."""
    return 1 - _mean(positives, lambda p: _missed(p, m, k))


def chance_mean_rank(positives: Ints, m: int) -> float:
    """Expected rank of the best positive in a random order: the mean over queries of (m + 1) / (P + 1)."""
    return _mean(positives, lambda p: (m + 1) / (p + 1))


def chance_median_rank(positives: Ints, m: int) -> int:
    """The smallest k whose expected recall@k in a random order is at least 50%."""
    low, high = 1, m
    while low < high:
        middle = (low + high) // 2
        if chance_recall(positives, m, middle) >= 0.5 - 1e-9:  # logarithms round
            high = middle
        else:
            low = middle + 1
    return low


def chance_precision(positives: Ints, m: int) -> float:
    """Expected mAP@10 of a random order.

    Place r holds a positive with probability P / m, and then (r - 1)(P - 1) / (m - 1) of those before it are positive.
    """

    def expected(p: int) -> float:
        places = range(1, min(DEPTH, m) + 1)
        total = sum((1 + (r - 1) * (p - 1) / max(m - 1, 1)) / r for r in places)
        return p / m * total / min(p, DEPTH)

    return _mean(positives, expected)


def _missed(p: int, m: int, k: int) -> float:
    """The share of orders whose first k items hold none of p positives."""
    if k > m - p:
        return 0.0
    return math.exp(math.lgamma(m - p + 1) - math.lgamma(m - p - k + 1) - math.lgamma(m + 1) + math.lgamma(m - k + 1))


def _mean(positives: Ints, value: Callable[[int], float]) -> float:
    """Mean of `value(P)` over queries; equal P are computed once."""
    counts, times = np.unique(positives, return_counts=True)
    return math.fsum(value(int(p)) * int(t) for p, t in zip(counts, times, strict=True)) / len(positives)
