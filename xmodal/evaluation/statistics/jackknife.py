"""Intervals of what is no mean over items, from a jackknife over groups of items.

Every group is left out once (Efron and Tibshirani 1993, chapter 11). Axes: n items, J groups.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from xmodal.errors import UserError

GROUPS = 20
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval [low, high]; NaN where it is not defined."""

    value: float
    low: float
    high: float


def jackknife(statistic: Callable[[Tensor], float], n: int) -> Estimate:
    """`statistic(left_out)` over all n items, with the interval of its values without each of the groups."""
    enough(n)
    everything = torch.empty(0, dtype=torch.long)
    value, without = statistic(everything), np.array([statistic(group) for group in groups_of(n)])
    J = len(without)
    error = math.sqrt((J - 1) / J * float(((without - without.mean()) ** 2).sum()))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, J - 1)) * error
    return Estimate(value, value - reach, value + reach)


def groups_of(n: int) -> Iterator[Tensor]:
    """The items of each group: every 20th, from the first, the second, ..."""
    for first in range(min(GROUPS, n)):
        yield torch.arange(first, n, min(GROUPS, n))


def enough(n: int) -> None:
    """Raise `UserError` below three items."""
    if n < 3:
        raise UserError(f"diagnostics: {n} items, expected at least 3")
