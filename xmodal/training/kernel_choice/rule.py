"""The rule by which a kernel is chosen: pure functions of what the short runs answered.

Input: for each candidate the outcome of every item of the dev split. Output: how each compares with the baseline, and
which one is taken. To choose otherwise, replace `winner`.

Axes: n items.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from xmodal.evaluation.statistics.metrics import accuracy, paired_interval


class Compared(NamedTuple):
    """A candidate beside the baseline, over the same items."""

    value: float  # share of right items
    difference: float  # value minus that of the baseline
    low: float  # of the difference, 95%
    high: float


def compared(outcomes: Mapping[str, ArrayLike], clusters: ArrayLike, baseline: str) -> dict[str, Compared]:
    """Every candidate but the baseline, with the paired interval of the difference.

    Args:
        outcomes: name -> [n], 0 to 1 or bool: which items are right.
        clusters: [n] which items belong together.
        baseline: the name all are compared with.
    """
    base = outcomes[baseline]
    return {
        name: Compared(accuracy(correct), accuracy(correct) - accuracy(base), *paired_interval(correct, base, clusters))
        for name, correct in outcomes.items()
        if name != baseline
    }


def winner(found: Mapping[str, Compared], baseline: str) -> tuple[str, str]:
    """(name, why): of candidates whose interval lies above 0 the one of the largest difference; else the baseline.

    Of equal ones the first.

    Example:
        winner({"affine": Compared(0.70, -0.02, -0.04, 0.0), "power 4": Compared(0.75, 0.03, 0.01, 0.05)}, "one_hot")
    """
    better = {name: each for name, each in found.items() if each.low > 0}
    if better:
        name = max(better, key=lambda each: better[each].difference)
        return name, f"{_told(better[name])} over {baseline}"
    if not found:
        return baseline, "no candidate was left to compare it with"
    best = max(found, key=lambda each: np.nan_to_num(found[each].difference, nan=-np.inf))
    return baseline, f"nothing beats it by its interval; the best, {best}: {_told(found[best])}"


def _told(each: Compared) -> str:
    return f"{each.difference:+.3f} [{each.low:+.3f}, {each.high:+.3f}]"
