"""What a space of embeddings looks like, and two of them beside each other: numbers for people, not for training.

Input: z of one modality [n, D], or of two over the same n pairs. Output: an `Estimate`, or one value per item for
`metrics.bootstrap_interval`. Nothing of size n x n is held: rows come in blocks.

What is no mean over items gets its interval from `jackknife.py`. Axes: n items, D embedding (each space may have its
own), J groups.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.errors import UserError
from xmodal.evaluation.statistics.blocks import row_blocks
from xmodal.evaluation.statistics.jackknife import GROUPS, Estimate, enough, jackknife
from xmodal.evaluation.statistics.nearest import nearest
from xmodal.objectives.kernels import Affine, Kernel
from xmodal.same_items import SameItems

FEWEST_OF_CKA = 5  # items: HSIC's estimate needs four, and the jackknife leaves one out


def modality_gap(a: Tensor, b: Tensor) -> Estimate:
    """Distance between the means of two modalities, `|E a - E b|` (Liang et al. 2022, 2203.02053), without their noise.

    The distance of n items' means is never 0: it holds their noise, about sqrt(E |a - b|^2 / n) where there is no gap.
    So its square is estimated without a pair's product with itself, `(|sum d|^2 - sum |d_i|^2) / (n (n - 1))` with
    d_i = a_i - b_i (a U-statistic: its expectation is the square of the gap), and a negative one counts as 0.

    Args:
        a, b: [n, D] in one space; row i of both is one pair.

    Example:
        modality_gap(images, texts).value
    """
    _same_shape(a, b)
    d = a.double() - b.double()
    total, squares = d.sum(0), d.square().sum(1)

    def squared(left_out: Tensor) -> float:
        kept = len(d) - len(left_out)
        alone = float(squares.sum() - squares[left_out].sum())
        return (float((total - d[left_out].sum(0)).square().sum()) - alone) / (kept * (kept - 1))

    found = jackknife(squared, len(d))
    return Estimate(*(math.sqrt(max(0.0, x)) for x in (found.value, found.low, found.high)))


def linear_separability(a: Tensor, b: Tensor, seed: int = 0) -> NDArray[np.float64]:
    """How well a straight cut tells the modalities apart: per pair of a held-out half, the share right, [n - n // 2].

    A logistic regression learns on one half of the pairs; 0.5 is chance, 1 a gap that nothing crosses.

    Example:
        linear_separability(images, texts).mean()
    """
    _same_shape(a, b)
    enough(len(a))
    order = np.random.default_rng(seed).permutation(len(a))
    learnt, held = np.split(order, [len(a) // 2])
    model = LogisticRegression(C=1.0, max_iter=1000)
    model.fit(_stacked(a, b, learnt), np.repeat([0, 1], len(learnt)))
    right = model.predict(_stacked(a, b, held)) == np.repeat([0, 1], len(held))
    return right.reshape(2, -1).mean(0)


def alignment(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """How far apart the two of each pair are, `|a_i - b_i|^2` [n] (Wang and Isola 2020, 2005.10242, alpha = 2).

    Its mean is the paper's alignment loss: 0 where every pair coincides, 2 where pairs are orthogonal.

    Example:
        alignment(images, texts).mean()
    """
    _same_shape(a, b)
    return (a.double() - b.double()).square().sum(1).numpy()


def shuffled_alignment(a: Tensor, b: Tensor) -> float:
    """What the mean of `alignment` would be of shuffled pairs, over all shuffles: 2 - 2 mean(a).mean(b) at unit norm.

    Example:
        alignment(images, texts).mean() / shuffled_alignment(images, texts)
    """
    _same_shape(a, b)
    a, b = a.double(), b.double()
    return float(a.square().sum(1).mean() + b.square().sum(1).mean() - 2 * a.mean(0) @ b.mean(0))


def uniformity(z: Tensor) -> Estimate:
    """How evenly z fills the sphere, `log mean_{i<j} exp(-2 |z_i - z_j|^2)` (Wang and Isola 2020, 2005.10242, t = 2).

    0 where all items are one point; about -4, its floor, where they are spread evenly over many dimensions.

    Args:
        z: [n, D] unit norm.

    Example:
        uniformity(images).value
    """
    enough(len(z))
    J = min(GROUPS, len(z))
    group = torch.arange(len(z)) % J
    sums = torch.zeros(J, J, dtype=torch.float64)  # over ordered pairs, by the groups of both
    for at in row_blocks(len(z), len(z)):
        block = torch.mm(z[at], z.T).sub_(1).mul_(4).exp_()  # |z_i - z_j|^2 = 2 - 2 cos
        block[torch.arange(len(block)), torch.arange(at.start, at.stop)] = 0
        by_column = torch.zeros(J, len(block), dtype=torch.float64).index_add_(0, group, block.T.double())
        sums.index_add_(0, group[at], by_column.T)
    sizes = torch.bincount(group, minlength=J).double()

    def log_mean(left_out: Tensor) -> float:
        kept = torch.ones(J, dtype=torch.float64)
        kept[group[left_out]] = 0
        items = float(kept @ sizes)
        return math.log(max(float(kept @ sums @ kept), 1e-300) / (items * (items - 1)))

    return jackknife(log_mean, len(z))


def mutual_knn(a: Tensor, b: Tensor, k: int = 10) -> NDArray[np.float64]:
    """Share of each item's k nearest neighbours that both spaces agree on, [n] (Huh et al. 2024, 2405.07987).

    Neighbours are by cosine, without the item itself. Of two unrelated spaces it is k / (n - 1).

    Args:
        a: [n, D], one space.
        b: [n, E], the other, over the same items.
        k: neighbours.

    Raises:
        UserError: n is not more than k, or the numbers of items differ.

    Example:
        mutual_knn(images, texts).mean()
    """
    _same_count(a, b)
    if len(a) <= k:
        raise UserError(f"mutual kNN: {len(a)} items, expected more than k ({k}); take a smaller k or more items")
    shared = np.empty(len(a))
    spaces = normalize(a, dim=1), normalize(b, dim=1)
    for at in row_blocks(len(a), len(a)):
        own = torch.arange(at.start, at.stop)
        one, two = (nearest(z[at], z, k, without=own)[0] for z in spaces)
        shared[at] = (one.unsqueeze(2) == two.unsqueeze(1)).sum((1, 2)).numpy() / k
    return shared


def debiased_cka(a: Tensor, b: Tensor) -> Estimate:
    """Likeness of two spaces up to rotation and scale: linear CKA (Kornblith et al. 2019, 1905.00414), debiased.

    1 of equal spaces, 0 on average of unrelated ones, so it may fall below 0. The plain one is above 0 for unrelated
    spaces, the more so the more dimensions there are to an item (0.11 of 500 items in twice 64), and near 1 for any two
    with fewer items than dimensions. `HSIC(A, B) / sqrt(HSIC(A, A) HSIC(B, B))` with the unbiased HSIC of Song et al.
    (2012, JMLR 13, 1393-1434), as Nguyen et al. (2021, 2010.15327) take it for CKA. With the columns of
    A [n, D] and B [n, E] centred, and without n x n:

        n (n - 3) HSIC = |A^T B|_F^2 - n / (n - 2) sum_i |a_i|^2 |b_i|^2 + |A|_F^2 |B|_F^2 / ((n - 1)(n - 2))

    NaN where a space is one point, or varies no more than noise would. At least five items.

    Example:
        debiased_cka(images, texts).value
    """
    _same_count(a, b)
    if len(a) < FEWEST_OF_CKA:
        raise UserError(f"diagnostics: {len(a)} items, expected at least {FEWEST_OF_CKA} for CKA")
    a, b = a.double(), b.double()
    a, b = a - a.mean(0), b - b.mean(0)  # the numbers stay small; a group's absence is centred for below
    total = _moments(a, b)

    def cka(left_out: Tensor) -> float:
        gone = _moments(a[left_out], b[left_out])
        aa, bb, ab, sum_a, sum_b = (x - y for x, y in zip(total, gone, strict=True))
        n = len(a) - len(left_out)
        kept = torch.ones(len(a), dtype=torch.bool)
        kept[left_out] = False
        norms_a, norms_b = ((z - s / n).square().sum(1)[kept] for z, s in ((a, sum_a), (b, sum_b)))

        def hsic(cross: Tensor, x: Tensor, y: Tensor) -> float:
            whole = x.sum() * y.sum() / ((n - 1) * (n - 2))
            return float(cross.square().sum() - n / (n - 2) * (x @ y) + whole)

        aa, bb = aa - torch.outer(sum_a, sum_a) / n, bb - torch.outer(sum_b, sum_b) / n
        ab = ab - torch.outer(sum_a, sum_b) / n
        own = hsic(aa, norms_a, norms_a), hsic(bb, norms_b, norms_b)
        return hsic(ab, norms_a, norms_b) / math.sqrt(own[0] * own[1]) if min(own) > 0 else math.nan

    return jackknife(cka, len(a))


def effective_positives(guide: Tensor, kernel: Kernel | None = None) -> NDArray[np.float64]:
    """How many items each one is drawn to, `(sum_j w_ij)^2 / sum_j w_ij^2` [n], under a kernel's weights.

    n where the weights are all equal, 1 where each item has itself alone. Of the affine kernel in closed form:
    `sum_j w_ij^2 = (n + 2 g_i.sum_j g_j + g_i^T G^T G g_i) / 4`; of others from blocks of rows.

    Args:
        guide: [n, G] unit norm.
        kernel: default: affine, CWCL's own.

    Example:
        effective_positives(texts, Exp(temperature=0.1)).mean()
    """
    g = guide.double()
    if kernel is None or kernel == Affine():
        along = g @ g.sum(0)
        squares = len(g) + 2 * along + (g @ (g.T @ g) * g).sum(1)
        return ((len(g) + along) ** 2 / squares).numpy()
    own = torch.arange(len(g))
    same, found = SameItems(own, own), np.empty(len(g))
    for at in row_blocks(len(g), len(g)):
        T = kernel.rows(g, same, own[at])
        found[at] = (T.sum(1) ** 2 / (T * T).sum(1)).numpy()
    return found


def _moments(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return a.T @ a, b.T @ b, a.T @ b, a.sum(0), b.sum(0)


def _stacked(a: Tensor, b: Tensor, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    return torch.cat([a[rows], b[rows]]).double().numpy()


def _same_count(a: Tensor, b: Tensor) -> None:
    if len(a) != len(b):
        raise UserError(f"diagnostics: {len(a)} and {len(b)} embeddings, expected one of each modality for every pair")


def _same_shape(a: Tensor, b: Tensor) -> None:
    _same_count(a, b)
    if a.shape != b.shape:
        raise UserError(
            f"diagnostics: {a.shape[1]} and {b.shape[1]} dimensions, expected two modalities in one space; "
            "mutual_knn and debiased_cka compare spaces of any kind"
        )
