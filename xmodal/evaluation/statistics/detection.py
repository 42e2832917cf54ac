"""Telling wanted items from others by one score: thresholds, ROC, and how sure AUROC and FPR at 95% TPR are.

An item is accepted where its score is at least the threshold. Input: numpy arrays over n items (`wanted`: bool). Axes:
n items, u distinct scores from the highest down, b resamples, G clusters.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

from xmodal.evaluation.statistics.metrics import Interval
from xmodal.evaluation.statistics.resampling import SAMPLES, TAIL, Floats, cluster_numbers, resampled

ENOUGH = 0.95  # share of the wanted that FPR at 95% TPR accepts
_AT_ONCE = 2_000_000  # weights of items held at a time


class Detection:
    """Scores of wanted and of other items.

    Args:
        scores: [n].
        wanted: [n] bool; both kinds occur.
        clusters: [n] what belongs together; none: every item for itself.

    Raises:
        ValueError: no wanted item, or no other.

    Example:
        found = Detection([0.9, 0.8, 0.3], [True, True, False])
        found.auroc, found.fpr_at_95_tpr  # 1.0, 0.0
    """

    def __init__(self, scores: ArrayLike, wanted: ArrayLike, clusters: ArrayLike | None = None) -> None:
        values, truth = np.asarray(scores, dtype=np.float64), np.asarray(wanted, dtype=bool)
        if truth.all() or not truth.any():
            raise ValueError(f"{int(truth.sum())} of {len(truth)} items are wanted; expected both kinds")
        order = np.argsort(-values, kind="stable")
        self.scores, self.wanted = values[order], truth[order]
        self.cluster = cluster_numbers(clusters, len(values))[order]
        self.starts = np.flatnonzero(np.append(True, np.diff(self.scores) != 0))
        self.thresholds: Floats = self.scores[self.starts]  # [u], highest first

    @property
    def auroc(self) -> float:
        """How often a wanted item scores above another one, ties counting half."""
        return float(roc_auc_score(self.wanted, self.scores))

    @property
    def fpr_at_95_tpr(self) -> float:
        """The share of the others accepted at the highest threshold that accepts 95% of the wanted."""
        return float(self._statistics(np.ones((1, len(self.scores))))[0, 1])

    def rates(self) -> tuple[Floats, Floats]:
        """Shares of the wanted and of the others that are accepted at every threshold, [u] each."""
        wanted, others = self._rates(np.ones((1, len(self.scores))))
        return wanted[0], others[0]

    def intervals(self, samples: int = SAMPLES, seed: int = 0) -> tuple[Interval, Interval]:
        """Those of `auroc` and of `fpr_at_95_tpr`, by resampling clusters; resamples without one kind are left out.

        Where all resamples are the same, what was not seen may be otherwise for up to 1 - e, e = 0.025 ** (1 / G), of
        the clusters: pairs of two seen ones are e * e of all, and the others may be either way.
        """
        groups = int(self.cluster.max()) + 1
        if groups < 2:
            return (math.nan, math.nan), (math.nan, math.nan)
        value = np.array([self.auroc, self.fpr_at_95_tpr])

        def statistics(times: Floats) -> Floats:
            step = max(1, _AT_ONCE // len(self.scores))
            parts = [self._statistics(times[at : at + step][:, self.cluster]) for at in range(0, len(times), step)]
            return np.concatenate(parts)

        low, high = resampled(statistics, value, groups, samples, seed)
        alike, seen = high - low < 1e-12, TAIL ** (2 / groups)
        low = np.where(alike, seen * value, np.clip(low, 0, 1))
        high = np.where(alike, seen * value + 1 - seen, np.clip(high, 0, 1))
        return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))

    def _rates(self, weights: Floats) -> tuple[Floats, Floats]:
        """The same of items that count `weights` [b, n] times: [b, u] each, NaN where there is none of a kind."""
        shares = []
        for kind in (self.wanted, ~self.wanted):
            accepted = np.add.reduceat(weights * kind, self.starts, axis=1).cumsum(axis=1)
            total = accepted[:, -1:]
            shares.append(np.divide(accepted, total, out=np.full_like(accepted, np.nan), where=total > 0))
        return shares[0], shares[1]

    def _statistics(self, weights: Floats) -> Floats:
        """AUROC and FPR at 95% TPR of items that count `weights` [b, n] times, [b, 2]."""
        wanted, others = self._rates(weights)
        corner = np.zeros((len(weights), 1))
        heights, steps = np.hstack([corner, wanted]), np.diff(np.hstack([corner, others]), axis=1)
        area = (steps * (heights[:, 1:] + heights[:, :-1]) / 2).sum(axis=1)
        first = (wanted >= ENOUGH - 1e-12).argmax(axis=1)
        at = others[np.arange(len(others)), first]
        undefined = np.isnan(wanted[:, -1]) | np.isnan(others[:, -1])
        return np.where(undefined[:, None], np.nan, np.stack([area, at], axis=1))


def best_threshold(
    scores: ArrayLike, wanted: ArrayLike, right: NDArray[np.bool_], most_accepted: float | None = None
) -> float:
    """The threshold to use elsewhere, chosen on these items: half way between two scores.

    It has the highest mean of two shares: of the wanted that are accepted and `right`, of the others that are rejected;
    of equal ones the lowest threshold. Their numbers do not count, so it fits any mixture of both.

    Args:
        scores: [n].
        wanted: [n] bool; both kinds occur.
        right: [n] is the answer to a wanted item right, once it is accepted?
        most_accepted: of the others at most this share may be accepted: then the lowest threshold that keeps it.

    Raises:
        ValueError: no wanted item, or no other.
    """
    found = Detection(scores, wanted)
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    good = np.add.reduceat(right[order] & found.wanted, found.starts, dtype=np.float64).cumsum() / found.wanted.sum()
    _, accepted = found.rates()
    good, accepted = np.append(0, good), np.append(0, accepted)  # the first: nothing is accepted
    if most_accepted is None:
        value = good + 1 - accepted
        at = len(value) - 1 - int(value[::-1].argmax())
    else:
        at = int(np.flatnonzero(accepted <= most_accepted + 1e-12)[-1])
    edges = found.thresholds
    if at == 0:
        return float(np.nextafter(edges[0], np.inf))
    return float(edges[at - 1] if at == len(edges) else (edges[at - 1] + edges[at]) / 2)
