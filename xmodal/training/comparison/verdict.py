"""Who leads, and is it sure? Differences between objectives over the same seeds and the same items.

Input: outcomes [S, m] by objective, S seeds and m items, right or wrong. Both are a matter of chance: seeds and
clusters of items are resampled, together for both of a pair (`drawn_interval`). With K objectives there are
K (K - 1) / 2 pairs, and the leader is who happens to be ahead; so each interval is made wide enough that all pairs hold
together with 95% (Bonferroni: 0.05 / (pairs x tests) each). That covers that the leader was picked by the same numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xmodal.evaluation.statistics.drawn_interval import drawn_interval
from xmodal.evaluation.statistics.resampling import TAIL

Outcomes = NDArray[np.float64]  # [S, m]
NO_INTERVAL = "no interval: fewer than two clusters"


@dataclass(frozen=True)
class Gap:
    """An objective minus another, with its interval; limits are NaN where fewer than two clusters give none."""

    first: str
    second: str
    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Are there limits?"""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def excludes_0(self) -> bool:
        """Is it told from no difference?"""
        return self.low > 0 or self.high < 0

    @property
    def text(self) -> str:
        """`0.034 [0.010, 0.058]`."""
        return told(self.value, self.low, self.high)


def told(value: float, low: float, high: float) -> str:
    """`0.034 [0.010, 0.058]`; where the limits are NaN, that there is no interval, and why."""
    limits = f"({NO_INTERVAL})" if math.isnan(low) or math.isnan(high) else f"[{low:.3f}, {high:.3f}]"
    return f"{value:.3f} {limits}"


@dataclass(frozen=True)
class Verdict:
    """The leader against all others, the nearest first; and how many comparisons the intervals are corrected for."""

    gaps: tuple[Gap, ...]
    comparisons: int

    @property
    def winner(self) -> str | None:
        """The leader, where its interval against every other lies above 0."""
        return self.gaps[0].first if self.gaps and all(gap.low > 0 for gap in self.gaps) else None

    def sentence(self, metric: str) -> str:
        """What may be said of this test."""
        if not self.gaps:
            return f"{metric}: one objective, nothing to compare."
        near, corrected = self.gaps[0], "of one comparison, so not corrected"
        if self.comparisons > 1:
            corrected = f"corrected for {self.comparisons} comparisons (Bonferroni)"
        if self.winner is not None:
            rest = ", and every other by at least as much" if len(self.gaps) > 1 else ""
            return f"{metric}: {near.first} leads {near.second} by {near.text}{rest}; intervals of 95%, {corrected}."
        alike = [gap.second for gap in self.gaps if not gap.low > 0]
        others = f"; not told apart from {near.first}: {', '.join(alike)}" if len(self.gaps) > 1 else ""
        first = next(gap for gap in self.gaps if not gap.low > 0)
        ahead = f"is ahead of {first.second} by" if first.value > 0 else f"and {first.second} differ by"
        if not first.has_interval:
            return f"{metric}: no winner: {first.first} {ahead} {first.text}{others}."
        return (
            f"{metric}: no winner: {first.first} {ahead} {first.text}, which holds 0{others}; "
            f"intervals of 95%, {corrected}."
        )


def gap(
    name: str, other: str, outcomes: Mapping[str, Outcomes], clusters: ArrayLike | None = None, comparisons: int = 1
) -> Gap:
    """`name` minus `other`, paired by seed and item; over one seed the interval is over the items alone.

    Args:
        name: of an objective.
        other: of another.
        outcomes: [S, m] by objective.
        clusters: [m].
        comparisons: intervals that are to hold together.
    """
    difference = outcomes[name] - outcomes[other]
    low, high = drawn_interval(difference, clusters, bounds=(-1.0, 1.0), tail=TAIL / comparisons)
    return Gap(name, other, float(difference.mean()), low, high)


def verdict(outcomes: Mapping[str, Outcomes], clusters: ArrayLike | None = None, tests: int = 1) -> Verdict:
    """Compare the objective with the highest mean (of equals the first) with every other.

    Args:
        outcomes: [S, m] by objective, the same seeds and items in each.
        clusters: [m] what belongs together among the items.
        tests: on how many tests the same is done.

    Example:
        verdict({"cwcl": hits, "infonce": others}).sentence("test/acc1")
    """
    means = {name: float(values.mean()) for name, values in outcomes.items()}
    order = sorted(means, key=lambda name: -means[name])  # stable
    comparisons = max(1, tests * len(order) * (len(order) - 1) // 2)
    return Verdict(tuple(gap(order[0], other, outcomes, clusters, comparisons) for other in order[1:]), comparisons)
