"""The interval of a mean over draws (of examples, or training seeds) and items, where both are a matter of chance.

Axes: S draws, m items.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from xmodal.evaluation.statistics.metrics import Interval, bootstrap_interval
from xmodal.evaluation.statistics.resampling import SAMPLES, TAIL, Floats, per_cluster, resampled


def drawn_interval(
    hits: ArrayLike,
    clusters: ArrayLike | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    bounds: Interval = (0.0, 1.0),
    tail: float = TAIL,
) -> Interval:
    """Interval of the mean of `hits` [S, m] over draws and items, where both are a matter of chance.

    Draws and clusters of items are resampled independently (the pigeonhole bootstrap, Owen 2007); its intervals are
    rather too wide than too narrow. A handful of draws is a poor estimate of their own spread, so the interval is
    widened as for 1 + nu clusters, where nu are Satterthwaite's degrees of freedom (1946) of the sum of the two
    variances. With one draw, or where neither the draws nor the clusters differ, it is `bootstrap_interval` over the
    items.

    Args:
        hits: [S, m], the same items in every draw; or differences between two models, with `bounds` (-1, 1).
        clusters: [m] labels of any kind.
        samples: resamples drawn.
        seed: equal seeds give equal intervals.
        bounds: what no value can leave.
        tail: what lies beyond each limit; 0.025 makes 95%.
    """
    values = np.asarray(hits, dtype=np.float64)
    if len(values) < 2 or values.min() == values.max():
        return bootstrap_interval(values.mean(0), clusters, samples, seed, bounds, tail)
    sums, counts = per_cluster(clusters, values.T)  # [G, S], [G]
    draws, groups = len(values), len(counts)
    if groups < 2:
        return math.nan, math.nan
    rng = np.random.default_rng([seed, 1])

    def means(times: Floats) -> Floats:
        drawn = rng.multinomial(draws, np.full(draws, 1 / draws), size=len(times))
        return (times @ sums / (times @ counts)[:, None] * drawn).sum(1, keepdims=True) / draws

    mean = values.mean()
    of_draws = values.mean(1).var(ddof=1) / draws
    apart = sums.mean(1) - mean * counts
    of_items = groups / (groups - 1) * (apart**2).sum() / counts.sum() ** 2
    if of_draws + of_items <= 1e-24:  # they differ item by item, and in no mean
        return bootstrap_interval(values.mean(0), clusters, samples, seed, bounds, tail)
    freedom = (of_draws + of_items) ** 2 / (of_draws**2 / (draws - 1) + of_items**2 / (groups - 1))
    [low], [high] = resampled(means, np.array([mean]), groups, samples, seed, effective=1 + freedom, tail=tail)
    return max(bounds[0], float(low)), min(bounds[1], float(high))
