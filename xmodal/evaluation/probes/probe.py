"""What labels can be read off embeddings: linear probe, nearest neighbours, a few examples per class.

Input: embeddings and labels of training and test items, as given: nothing is centred or scaled. Output: a score per
test item and class, for `ScoreSheet.score`. What is chosen (C, k) is chosen on a part of the training items; the test
never has a say. Axes: n training items, m test items, C classes of the training labels (sorted), D embedding, S draws.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from xmodal.errors import UserError
from xmodal.evaluation.probes.validation import Labels, validation_split
from xmodal.evaluation.statistics.blocks import row_blocks
from xmodal.evaluation.statistics.nearest import nearest
from xmodal.evaluation.statistics.resampling import Floats

STRENGTHS = tuple(10.0**e for e in range(-3, 6))  # C of the linear probe; unit-norm features need large ones
FEW_SHOT_C = 1.0  # a handful of examples cannot choose one
DRAWS = 5  # of the examples
NEIGHBOURS = (1, 5, 10, 20, 50, 100, 200)
TEMPERATURE = 0.07  # of the neighbours' votes
ITERATIONS = 1000


@dataclass(frozen=True)
class ClassScores:
    """A score per test item and class, [m, C], and what was chosen on the way."""

    classes: tuple[str, ...]
    scores: Floats
    context: dict[str, Any] = field(default_factory=dict)


def linear_probe(
    train: ArrayLike, labels: Labels, test: ArrayLike, groups: Labels | None = None, seed: int = 0
) -> ClassScores:
    """Multinomial logistic regression with an L2 penalty; scores are class probabilities.

    The strength C comes from `STRENGTHS`: the one with the best accuracy on the held-out part of the training items,
    the smallest of equals; then all training items are fitted with it (as in CLIP, 2103.00020, appendix A.3).

    Args:
        train: [n, D].
        labels: [n].
        test: [m, D].
        groups: [n] what must not be on both sides of the choice, such as speakers.
        seed: of the split.

    Raises:
        UserError: sizes that do not fit, one class only, nothing left to choose on.

    Example:
        found = linear_probe(z_train, labels, z_test)
        sheet.score("linear", found.scores, found.classes, found.context)
    """
    x, y, queries = _checked(train, labels, test)
    held = validation_split(y, groups, seed)
    if len(set(y[~held])) < 2:
        raise UserError("linear probe: without the held-out groups one class is left to train on; give more groups")
    model = _regression(1.0)
    accuracies = {}
    for strength in STRENGTHS:  # warm: each starts where the last one ended
        model.set_params(C=strength, warm_start=True)
        _fit(model, x[~held], y[~held])
        accuracies[strength] = float((model.predict(x[held]) == y[held]).mean())
    best = max(STRENGTHS, key=lambda strength: (accuracies[strength], -strength))
    final = _regression(best)
    converged = _fit(final, x, y)
    context = {
        "C": best,
        "C_at_edge": best in (STRENGTHS[0], STRENGTHS[-1]),
        "validation_accuracy": accuracies[best],
        "validation_items": int(held.sum()),
        "converged": converged,
        "training_items": len(y),
    }
    return ClassScores(tuple(final.classes_), final.predict_proba(queries), context)


def knn_probe(
    train: ArrayLike,
    labels: Labels,
    test: ArrayLike,
    k: int | None = None,
    groups: Labels | None = None,
    seed: int = 0,
) -> ClassScores:
    """The k nearest training items by cosine vote with weight `exp(cosine / 0.07)`; scores are vote shares.

    Wu et al. (2018, 1805.01978), as in DINO (2104.14294). Of equally near items the earlier one counts. Without `k`,
    the one of `NEIGHBOURS` with the best accuracy on the held-out part of the training items, the smallest of equals.

    Args:
        train: [n, D].
        labels: [n].
        test: [m, D].
        k: neighbours.
        groups: [n] what must not be on both sides of the choice.
        seed: of the split.

    Raises:
        UserError: sizes that do not fit, one class only, k out of range.

    Example:
        found = knn_probe(z_train, labels, z_test, k=20)
        predicted = np.array(found.classes)[found.scores.argmax(1)]
    """
    x, y, queries = _checked(train, labels, test)
    if k is not None and not 1 <= k <= len(x):
        raise UserError(f"kNN: k is {k}, expected 1 to {len(x)}, the number of training items")
    context: dict[str, Any] = {"temperature": TEMPERATURE, "training_items": len(y)}
    classes = tuple(sorted(set(y)))
    if k is None:
        held = validation_split(y, groups, seed)
        possible = [n for n in NEIGHBOURS if n <= int((~held).sum())]
        votes = _votes(x[~held], y[~held], x[held], possible, classes)
        names = np.array(classes, dtype=object)
        accuracies = {n: float((names[v.argmax(1)] == y[held]).mean()) for n, v in zip(possible, votes, strict=True)}
        k = max(possible, key=lambda n: (accuracies[n], -n))
        context |= {"validation_accuracy": accuracies[k], "validation_items": int(held.sum())}
    [scores] = _votes(x, y, queries, [k], classes)
    return ClassScores(classes, scores, {"k": k} | context)


def few_shot(train: ArrayLike, labels: Labels, test: ArrayLike, shots: int) -> list[ClassScores]:
    """A linear probe on `shots` examples of each class, drawn anew `DRAWS` times: one `ClassScores` per draw.

    C is `FEW_SHOT_C`. Draw number s holds the same first examples at every number of shots.

    Args:
        train: [n, D] to draw from.
        labels: [n].
        test: [m, D].
        shots: examples per class.

    Raises:
        UserError: sizes that do not fit, one class only, a class with fewer examples than shots.

    Example:
        for found in few_shot(z_train, labels, z_test, shots=4):
            print(found.context["seed"], found.scores.shape)
    """
    x, y, queries = _checked(train, labels, test)
    label, fewest = min(Counter(y).items(), key=lambda pair: (pair[1], pair[0]))
    if not 1 <= shots <= fewest:
        raise UserError(f"few-shot: {shots} shots, but {label!r} has {fewest} training items; give 1 to {fewest}")
    found = []
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(len(y))
        drawn = np.concatenate([order[y[order] == name][:shots] for name in sorted(set(y))])
        model = _regression(FEW_SHOT_C)
        converged = _fit(model, x[drawn], y[drawn])
        context = {"shots": shots, "seed": seed, "C": FEW_SHOT_C, "converged": converged}
        found.append(ClassScores(tuple(model.classes_), model.predict_proba(queries), context))
    return found


def _votes(
    x: NDArray[Any],
    y: NDArray[Any],
    queries: NDArray[Any],
    ks: Sequence[int],
    classes: tuple[str, ...],
) -> list[Floats]:
    """For each number of neighbours the classes' shares of the vote, [m, C]."""
    keys, asked = (torch.nn.functional.normalize(torch.from_numpy(z), dim=1) for z in (x, queries))
    number = torch.from_numpy(np.searchsorted(np.array(classes, dtype=object), y))
    found = [torch.zeros(len(asked), len(classes), dtype=asked.dtype) for _ in ks]
    for at in row_blocks(len(asked), len(keys)):
        places, cosines = nearest(asked[at], keys, max(ks))
        weights = ((cosines - cosines[:, :1]) / TEMPERATURE).exp()  # beside the nearest's: no overflow
        for k, votes in zip(ks, found, strict=True):
            votes[at].scatter_add_(1, number[places[:, :k]], weights[:, :k])
    return [(votes / votes.sum(1, keepdim=True)).numpy() for votes in found]


def _regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=ITERATIONS)


def _fit(model: LogisticRegression, x: NDArray[Any], y: NDArray[Any]) -> bool:
    """Fit in place; has it converged?"""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x.astype(np.float64), y.astype(str))  # in fp32 large C do not converge
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _checked(train: ArrayLike, labels: Labels, test: ArrayLike) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    x, queries = np.asarray(train), np.asarray(test)
    y = np.array([str(label) for label in labels], dtype=object)
    if x.ndim != 2 or queries.ndim != 2 or x.shape[1] != queries.shape[1]:
        raise UserError(f"probe: embeddings {list(x.shape)} and {list(queries.shape)}, expected [n, D] and [m, D]")
    if len(x) != len(y):
        raise UserError(f"probe: {len(x)} training embeddings and {len(y)} labels, expected one label each")
    for name, z in (("training", x), ("test", queries)):
        if not np.isfinite(z).all():
            raise UserError(
                f"probe: {int((~np.isfinite(z)).any(1).sum())} of {len(z)} {name} embeddings are not finite"
            )
    if len(set(y)) < 2:
        raise UserError(f"probe: {len(set(y))} class among {len(y)} training items, expected two or more")
    exact = np.result_type(np.float32, x.dtype, queries.dtype)  # half precision and integers are not enough
    return x.astype(exact, copy=False), y, queries.astype(exact, copy=False)
