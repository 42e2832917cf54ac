"""Which training items a probe's settings are chosen on; the test never has a say."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from xmodal.errors import UserError
from xmodal.evaluation.statistics.resampling import cluster_numbers

HELD_OUT = 5  # one training item in so many decides

Labels = Sequence[str] | NDArray[Any]


def validation_split(labels: Labels, groups: Labels | None = None, seed: int = 0) -> NDArray[np.bool_]:
    """Which training items are held out to choose by, [n] bool: about one in `HELD_OUT` of every class.

    With `groups` whole groups are held out, as near to that as they allow; else a class of two or more gives at least
    one and keeps at least one.

    Raises:
        UserError: fewer than two groups, or no class with two items.
        ValueError: a null group, or another number of them than of items.
    """
    y = np.asarray(labels, dtype=object)
    if groups is not None:
        group = cluster_numbers(groups, len(y))
        if len(set(group)) < 2:
            raise UserError(f"validation split: {len(set(group))} group over {len(y)} items, expected two or more")
        folds = min(HELD_OUT, len(set(group)), max(Counter(y).values()))
        if folds < 2:
            raise UserError("validation split: every class has one item; expected classes with two or more")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # classes with fewer members than folds
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
            _, chosen = next(splitter.split(np.zeros(len(y)), y.astype(str), group))
        return np.isin(np.arange(len(y)), chosen)
    held = np.zeros(len(y), dtype=bool)
    order = np.random.default_rng(seed).permutation(len(y))
    for name in sorted(set(y)):
        mine = order[y[order] == name]
        if len(mine) > 1:
            held[mine[: max(1, len(mine) // HELD_OUT)]] = True
    if not held.any():
        raise UserError("validation split: every class has one item; expected classes with two or more")
    return held
