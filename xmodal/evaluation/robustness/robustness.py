"""How much the choice of prompt templates matters: every subset of k templates is a classifier of its own.

Input: item embeddings z [n, D], prompt embeddings [T, C, D] (every prompt embedded once) and labels [n]. Output: which
items each subset gets right, and what that says of k. Protocol: "Prompt templates" in docs/evaluation.md.

Axes: n items, T templates, C classes, D embedding, m subsets of one size.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.evaluation.robustness.subsets import SUBSETS, Answers, answer, draw_subsets, mean_vectors, subset_answers
from xmodal.evaluation.statistics.resampling import Floats, Ints, per_cluster, resampled

Bools = NDArray[np.bool_]

NEAR_PEAK = 0.99


@dataclass(frozen=True)
class Spread:
    """Accuracy over the subsets of one size; `best` and `worst` are template numbers, the first in order on a tie."""

    k: int
    subsets: int
    mean: float
    sd: float  # over the subsets, population
    low: float  # 5th percentile
    high: float  # 95th
    best: tuple[int, ...]
    worst: tuple[int, ...]
    best_accuracy: float
    worst_accuracy: float


@dataclass(frozen=True)
class Robustness:
    """What the subsets of a template set got right. `measure` makes it.

    ks         sizes asked for and T, ascending
    subsets    k -> [m, k] template numbers; 1 and T are always there
    hits       k -> [n, m], which items each subset gets right
    whole      the answers of all T templates together
    perturbed  name -> [n], which items are right with every template perturbed
    """

    ks: tuple[int, ...]
    subsets: Mapping[int, Ints]
    hits: Mapping[int, Bools]
    whole: Answers
    perturbed: Mapping[str, Bools]

    @property
    def templates(self) -> int:
        """T."""
        return self.ks[-1]

    @property
    def single(self) -> Floats:
        """Accuracy of every template alone, [T]."""
        return self.hits[1].mean(axis=0)

    @property
    def sensitivity(self) -> float:
        """Standard deviation (population) of accuracy over single templates."""
        return float(self.single.std())

    def item_means(self, k: int) -> Floats:
        """Share of the subsets of size k that get each item right, [n]: what intervals resample."""
        return self.hits[k].mean(axis=1)

    def spread(self, k: int) -> Spread:
        """Mean, spread and extremes of accuracy over the subsets of size k."""
        accuracies = self.hits[k].mean(axis=0)
        low, high = np.quantile(accuracies, [0.05, 0.95])
        best, worst = int(accuracies.argmax()), int(accuracies.argmin())
        return Spread(
            k=k,
            subsets=len(accuracies),
            mean=float(accuracies.mean()),
            sd=float(accuracies.std()),
            low=float(low),
            high=float(high),
            best=tuple(self.subsets[k][best].tolist()),
            worst=tuple(self.subsets[k][worst].tolist()),
            best_accuracy=float(accuracies[best]),
            worst_accuracy=float(accuracies[worst]),
        )

    def enough(self, share: float = NEAR_PEAK) -> int:
        """The smallest k of `ks` whose mean accuracy reaches `share` of the highest mean."""
        means = [self.hits[k].mean() for k in self.ks]
        return next(k for k, mean in zip(self.ks, means, strict=True) if mean >= share * max(means))

    def enough_interval(self, clusters: ArrayLike | None = None) -> tuple[float, float]:
        """Interval of `enough()` over clusters of items: two of `ks`; (nan, nan) below six clusters."""
        sums, counts = per_cluster(clusters, np.stack([self.item_means(k) for k in self.ks], axis=1))
        if len(counts) < 2:
            return math.nan, math.nan

        def enough(times: Floats) -> Floats:
            totals = times @ sums  # as of the means: a resample's size is the same for every k
            near = totals >= NEAR_PEAK * totals.max(axis=1, keepdims=True)
            return np.array(self.ks, dtype=np.float64)[near.argmax(axis=1)][:, None]

        value = np.array([float(self.enough())])
        [low], [high] = resampled(enough, value, len(counts), whole=True)
        return float(low), float(high)


def measure(
    z: Tensor,
    prompts: Tensor,
    labels: Ints,
    ks: Sequence[int],
    perturbed: Mapping[str, Tensor] | None = None,
    most: int = SUBSETS,
    seed: int = 0,
) -> Robustness:
    """Score every subset of templates.

    Args:
        z: [n, D], items.
        prompts: [T, C, D], any length; they are normalised here.
        labels: [n] class numbers; -1: right under no answer.
        ks: sizes of subsets, 1 to T; T itself is always added.
        perturbed: name -> class vectors [C, D] of the perturbed set.
        most: subsets of one size; single templates are all scored whatever their number.
        seed: equal seeds draw equal subsets.

    Raises:
        ValueError: shapes that do not fit, a k outside 1 to T, a NaN.

    Example:
        found = measure(z, prompts, labels, ks=(1, 5))
        found.spread(5).mean, found.enough()
    """
    if z.ndim != 2 or prompts.ndim != 3 or z.shape[1] != prompts.shape[2] or labels.shape != (len(z),) or not len(z):
        raise ValueError(f"z {tuple(z.shape)}, prompts {tuple(prompts.shape)}, labels {labels.shape}: expected "
                         "[n, D], [T, C, D], [n] with n > 0")  # fmt: skip
    total = len(prompts)
    sizes = sorted({*ks, total})
    subsets = {k: draw_subsets(total, k, most, seed) for k in sorted({1, *sizes})}
    prompts = normalize(prompts.float(), dim=-1)
    z = z.float()
    whole = answer(z, mean_vectors(prompts))
    drawn = [k for k in subsets if k < total]  # the whole set goes the plain way, as zero-shot classification does
    members = np.zeros((sum(len(subsets[k]) for k in drawn), total), dtype=np.float32)
    for row, subset in enumerate(itertools.chain.from_iterable(subsets[k] for k in drawn)):
        members[row, subset] = 1
    right = subset_answers(z, prompts, members) == labels[:, None]
    ends = np.cumsum([len(subsets[k]) for k in drawn])[:-1]
    hits = dict(zip(drawn, np.split(right, ends, axis=1), strict=True)) if drawn else {}
    hits[total] = (whole.predicted == labels)[:, None]
    right_if = {name: answer(z, vectors).predicted == labels for name, vectors in (perturbed or {}).items()}
    return Robustness(tuple(sizes), subsets, hits, whole, right_if)
