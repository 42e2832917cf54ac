"""Subsets of templates as classifiers: which are drawn, and which class each one answers for every item.

A subset's class vector is its unit prompts averaged and normalised, so an item's score is
sum_t (z . p_tc) / |sum_t p_tc|. The products z . p_tc are made once for all subsets, a block of items at a time; after
that a subset costs T multiplications per item and class in place of D, and no [n, C] scores are ever held.

Axes: n items, T templates, C classes, D embedding, m subsets of one size, S subsets of all sizes.
"""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.evaluation.statistics.metrics import first_argmax
from xmodal.evaluation.statistics.resampling import Floats, Ints

SUBSETS = 200  # subsets of one size that are drawn; all of them where there are no more
_TABLE = 5_000_000  # products z . p_tc held at a time by each thread: 20 MB
_SCORES = 16_000_000  # scores of the whole set held at a time: 64 MB


@dataclass(frozen=True)
class Answers:
    """What one classifier answers: per item the class [n], its cosine [n], and how many items had a tie."""

    predicted: Ints
    score: Floats
    ties: int


def draw_subsets(templates: int, k: int, most: int = SUBSETS, seed: int = 0) -> Ints:
    """`most` distinct subsets of k out of `templates`, [m, k], ascending in each row.

    All of them, in lexicographic order, where there are no more than `most`, and for k = 1. Else they are drawn evenly
    by `seed`, whatever other sizes are asked for.

    Raises ValueError on a k outside 1 to `templates`.

    Example:
        draw_subsets(3, 2).tolist()  # [[0, 1], [0, 2], [1, 2]]
    """
    if not 1 <= k <= templates:
        raise ValueError(f"k = {k}: expected 1 to {templates}, the number of templates")
    if k == 1 or math.comb(templates, k) <= most:
        return np.array(list(itertools.combinations(range(templates), k)), dtype=np.int64)
    generator = np.random.default_rng([seed, k])
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < most:
        drawn[tuple(sorted(generator.choice(templates, k, replace=False).tolist()))] = None
    return np.array(list(drawn), dtype=np.int64)


def mean_vectors(prompts: Tensor) -> Tensor:
    """Class vectors [C, D] of all templates together: unit prompts [T, C, D] averaged, then normalised."""
    return normalize(prompts.mean(dim=0), dim=-1)


def answer(z: Tensor, vectors: Tensor) -> Answers:
    """The nearest class vector of every item, the first one on a tie; blockwise over items.

    Args:
        z: [n, D].
        vectors: [C, D].

    Raises ValueError on NaN.
    """
    predicted, scores, ties = [], [], 0
    for block in z.split(max(1, _SCORES // len(vectors))):
        cosines = (block @ vectors.T).numpy()
        best, tied = first_argmax(cosines)
        predicted.append(best)
        scores.append(np.take_along_axis(cosines, best[:, None], axis=1)[:, 0].astype(np.float64))
        ties += tied
    return Answers(np.concatenate(predicted), np.concatenate(scores), ties)


def subset_answers(z: Tensor, prompts: Tensor, members: NDArray[np.float32]) -> NDArray[np.int32]:
    """The class each subset answers for each item, [n, S]; the first class on a tie.

    Args:
        z: [n, D].
        prompts: [T, C, D] unit norm.
        members: [S, T], 1 where a template is in a subset, else 0.
    """
    total, classes, width = prompts.shape
    predicted = np.empty((len(z), len(members)), dtype=np.int32)
    if not len(members):
        return predicted
    weights = torch.from_numpy(members)
    lengths = torch.stack([(weights @ prompts[:, c]).norm(dim=1) for c in range(classes)], dim=1)
    inverse = 1 / lengths.clamp_min(1e-12)  # [S, C]; as torch's normalize, should prompts cancel
    flat = prompts.reshape(total * classes, width)
    size = max(1, _TABLE // len(flat))

    def score(start: int) -> None:
        scores = torch.empty(len(members), classes)
        seen = scores.numpy()  # the same memory: numpy's argmax takes a tenth of the time of torch's (measured)
        table = z[start : start + size] @ flat.T
        for row, products in enumerate(table.view(-1, total, classes), start):
            torch.mm(weights, products, out=scores)  # item by item: [S, C] stays in the cache
            scores.mul_(inverse)
            predicted[row] = seen.argmax(axis=1)

    threads = torch.get_num_threads()
    try:  # a block of items per thread: sharing each small product among threads makes them wait for one another
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(score, range(0, len(z), size)))
    finally:
        torch.set_num_threads(threads)  # what the pool set is also what threads made later would start with
    return predicted
