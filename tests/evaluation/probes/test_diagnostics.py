"""Diagnostics against loops, closed forms, scipy, and what each must be where the answer is known."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.errors import UserError
from xmodal.evaluation.probes.diagnostics import (
    alignment,
    debiased_cka,
    effective_positives,
    linear_separability,
    modality_gap,
    mutual_knn,
    shuffled_alignment,
    uniformity,
)
from xmodal.evaluation.statistics import blocks, jackknife
from xmodal.evaluation.statistics.nearest import nearest
from xmodal.objectives.kernels import Affine, Exp, TopK


def points(n: int, d: int, seed: int) -> Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def rotation(d: int) -> Tensor:
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(9), dtype=torch.float64))[0]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, the last one ragged."""
    monkeypatch.setattr(blocks, "BLOCK", 7 * 53)


A, B = points(53, 8, 0), normalize(points(53, 8, 0) + 0.8 * points(53, 8, 1), dim=1)


# ------------------------------------------------------------------------------------------------------------ one space


def test_uniformity_is_scipys_mean_over_pairs(small_blocks: None) -> None:
    expected = math.log(np.exp(-2 * pdist(A.numpy().astype(float), "sqeuclidean")).mean())
    assert uniformity(A).value == pytest.approx(expected, abs=1e-6)


def test_uniformity_of_one_point_and_of_opposite_points() -> None:
    assert uniformity(A[:1].expand(30, -1)).value == pytest.approx(0, abs=1e-6)
    # two opposite points, 3 items at each: 6 of 15 pairs coincide, 9 lie 2 apart
    two = torch.tensor([[1.0, 0], [-1, 0]]).repeat(3, 1)
    assert uniformity(two).value == pytest.approx(math.log((6 + 9 * math.exp(-8)) / 15), abs=1e-6)


def test_jackknife_of_uniformity_leaves_groups_out() -> None:
    values = []
    for group in range(20):
        kept = np.arange(53) % 20 != group
        values.append(math.log(np.exp(-2 * pdist(A.numpy().astype(float)[kept], "sqeuclidean")).mean()))
    error = math.sqrt(19 / 20 * ((np.array(values) - np.mean(values)) ** 2).sum())
    found = uniformity(A)
    assert found.high - found.value == pytest.approx(2.093024 * error, rel=1e-3)
    assert found.low == pytest.approx(2 * found.value - found.high)


def test_effective_positives_are_those_of_the_kernels_rows(small_blocks: None) -> None:
    g = A.double().numpy()
    for kernel, weight in ((None, lambda c: (1 + c) / 2), (Exp(temperature=0.2), lambda c: math.exp((c - 1) / 0.2))):
        expected = []
        for i in range(len(g)):
            w = [weight(1.0 if i == j else float(g[i] @ g[j])) for j in range(len(g))]
            expected.append(sum(w) ** 2 / sum(x * x for x in w))
        assert effective_positives(A, kernel) == pytest.approx(expected, rel=1e-6)
    by_rows = effective_positives(A, Affine(identity_mix=1e-12))  # not the closed form
    assert by_rows == pytest.approx(effective_positives(A), rel=1e-6)
    assert effective_positives(A, TopK(k=5)) == pytest.approx(5)
    assert effective_positives(A[:1].expand(30, -1)) == pytest.approx(30)
    # orthonormal guides: weight 1 on oneself, 1/2 on 7 others
    assert effective_positives(torch.eye(8)) == pytest.approx((1 + 3.5) ** 2 / (1 + 7 / 4))


# ----------------------------------------------------------------------------------------------------------- two spaces


def squared_gap(a: np.ndarray, b: np.ndarray) -> float:
    """The mean over pairs i != j of d_i . d_j, as a loop: unbiased, as no difference meets itself."""
    d = a - b
    return float(np.mean([d[i] @ d[j] for i in range(len(d)) for j in range(len(d)) if i != j]))


def test_modality_gap() -> None:
    shift = torch.tensor([3.0, 4, 0, 0, 0, 0, 0, 0])
    moved = modality_gap(A, A + shift)
    assert (moved.value, moved.low, moved.high) == pytest.approx((5, 5, 5), rel=1e-6)
    assert modality_gap(A, A).value == 0
    b = (B.double() + shift.double() / 20).numpy()
    found, a = modality_gap(A, torch.from_numpy(b)), A.double().numpy()
    square = squared_gap(a, b)
    assert found.value == pytest.approx(math.sqrt(square))
    values = [squared_gap(a[kept], b[kept]) for kept in (np.arange(53) % 20 != group for group in range(20))]
    error = math.sqrt(19 / 20 * ((np.array(values) - np.mean(values)) ** 2).sum())
    assert found.high == pytest.approx(math.sqrt(square + 2.093024 * error), rel=1e-5)
    assert found.low == pytest.approx(math.sqrt(max(0, square - 2.093024 * error)), rel=1e-5)


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.2])
def test_the_interval_of_the_gap_holds_the_truth(gap: float) -> None:
    """Two samples of one distribution in 64 dimensions, one of them moved; the distance of means is 0.06 at no gap."""
    shift = torch.zeros(64)
    shift[0] = gap
    found = [modality_gap(points(500, 64, 2 * seed) + shift, points(500, 64, 2 * seed + 1)) for seed in range(100)]
    assert sum(e.low <= gap <= e.high for e in found) >= 90
    assert np.mean([e.value**2 for e in found]) == pytest.approx(gap**2, abs=5e-4)  # not 0.0039 more
    assert all(e.low > 0 for e in found) == (gap == 0.2)


def test_alignment() -> None:
    assert alignment(A, A) == pytest.approx(0)
    assert alignment(A, -A) == pytest.approx(4, rel=1e-6)
    expected = [
        sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for a, b in zip(A.tolist(), B.tolist(), strict=True)
    ]
    assert alignment(A, B) == pytest.approx(expected)
    every = [sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for a in A.tolist() for b in B.tolist()]
    assert shuffled_alignment(A, B) == pytest.approx(
        np.mean(every), rel=1e-6
    )  # in a shuffle each meets each alike often
    means = A.double().mean(0), B.double().mean(0)
    assert shuffled_alignment(A, B) == pytest.approx(2 - 2 * float(means[0] @ means[1]), rel=1e-6)
    assert np.mean(expected) < 0.5 * shuffled_alignment(A, B)


def test_separability_is_chance_without_a_gap_and_one_with() -> None:
    a, b = points(400, 8, 2), points(400, 8, 3)
    assert linear_separability(a, b).shape == (200,)
    assert linear_separability(a, b).mean() == pytest.approx(0.5, abs=0.08)
    cone = torch.zeros(8)
    cone[0] = 3
    assert linear_separability(normalize(a + cone, dim=1), normalize(b - cone, dim=1)).mean() == 1


def test_mutual_knn_is_a_loop_over_sets(small_blocks: None) -> None:
    k, expected = 5, []
    for i in range(len(A)):
        near = []
        for z in (A.double().numpy(), B.double().numpy()):
            others = sorted((j for j in range(len(z)) if j != i), key=lambda j: -float(z[i] @ z[j]))
            near.append(set(others[:k]))
        expected.append(len(near[0] & near[1]) / k)
    assert mutual_knn(A, B, k) == pytest.approx(expected)
    assert 0.2 < np.mean(expected) < 0.9


def test_mutual_knn_where_the_answer_is_known() -> None:
    assert mutual_knn(A, A) == pytest.approx(1)
    assert mutual_knn(A, 3 * A @ rotation(8).float()) == pytest.approx(1)  # rotation and scale change no neighbour
    n, k = 300, 30
    assert mutual_knn(points(n, 8, 4), points(n, 5, 5), k).mean() == pytest.approx(k / (n - 1), abs=0.02)
    assert mutual_knn(A[:11], B[:11]) == pytest.approx(1)  # all the others are neighbours


def unbiased_hsic(K: np.ndarray, L: np.ndarray) -> float:
    """Song et al. 2012, by n x n Gram matrices without their diagonals."""
    n, one = len(K), np.ones(len(K))
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    pairs = np.trace(K @ L) + (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    return float((pairs - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3)))


def test_debiased_cka_is_songs_hsic_of_gram_matrices() -> None:
    a, b = A.double().numpy(), B.double().numpy()[:, :5]

    def by_gram(a: np.ndarray, b: np.ndarray) -> float:
        K, L = a @ a.T, b @ b.T
        return unbiased_hsic(K, L) / math.sqrt(unbiased_hsic(K, K) * unbiased_hsic(L, L))

    found = debiased_cka(A, B[:, :5])
    assert found.value == pytest.approx(by_gram(a, b), rel=1e-9)
    values = [by_gram(a[kept], b[kept]) for kept in (np.arange(53) % 20 != group for group in range(20))]
    error = math.sqrt(19 / 20 * ((np.array(values) - np.mean(values)) ** 2).sum())
    assert found.high - found.value == pytest.approx(2.093024 * error, rel=1e-6)
    assert found.low == pytest.approx(2 * found.value - found.high)
    moved = 7 * A.double() @ rotation(8) + 5
    assert debiased_cka(A, moved).value == pytest.approx(1, abs=1e-9)
    assert math.isnan(debiased_cka(A, torch.ones(53, 3)).value)
    assert debiased_cka(A[:5], B[:5]).value == pytest.approx(by_gram(A[:5].double().numpy(), B[:5].double().numpy()))
    with pytest.raises(UserError, match="4 items, expected at least 5 for CKA"):
        debiased_cka(A[:4], B[:4])


def test_the_interval_of_cka_holds_the_truth() -> None:
    """Of unrelated spaces the truth is 0, where plain linear CKA says 0.11. A space beside a turned copy with as much
    noise: cross-covariance R / 64, covariances I / 64 and 2 I / 64, so |R|^2 / (|I| |2 I|) = 64 / (8 * 16) = 1/2."""
    unrelated, turned = [], []
    for seed in range(60):
        a, noise = points(500, 64, 2 * seed), points(500, 64, 2 * seed + 1)
        unrelated.append(debiased_cka(a, noise))
        turned.append(debiased_cka(a, a @ rotation(64).float() + noise))
    for found, truth in ((unrelated, 0.0), (turned, 0.5)):
        assert sum(e.low <= truth <= e.high for e in found) >= 54
        assert np.mean([e.value for e in found]) == pytest.approx(truth, abs=0.003)
        assert np.mean([e.high - e.low for e in found]) < 0.05


# -------------------------------------------------------------------------------------------------------------- nearest


def test_nearest_takes_the_earlier_of_equals() -> None:
    keys = torch.eye(4)[[0, 1, 0, 2, 0, 0, 1]]
    places, products = nearest(torch.eye(4)[[0, 1, 3]], keys, 3)
    assert places.tolist() == [[0, 2, 4], [1, 6, 0], [0, 1, 2]]
    assert products.tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    places, _ = nearest(torch.eye(4)[[0]], keys, 3, without=torch.tensor([2]))
    assert places.tolist() == [[0, 4, 5]]
    assert nearest(torch.eye(4)[[1]], keys, 7)[0].tolist() == [[1, 6, 0, 2, 3, 4, 5]]


# --------------------------------------------------------------------------------------------------------------- errors


def test_mistakes() -> None:
    for function in (modality_gap, alignment, linear_separability, mutual_knn, debiased_cka):
        with pytest.raises(UserError, match="53 and 52 embeddings"):
            function(A, B[:52])
    for function in (modality_gap, alignment, linear_separability):
        with pytest.raises(UserError, match="8 and 5 dimensions"):
            function(A, B[:, :5])
    with pytest.raises(UserError, match="10 items, expected more than k"):
        mutual_knn(A[:10], B[:10])
    with pytest.raises(UserError, match="2 items, expected at least 3"):
        modality_gap(A[:2], B[:2])
    assert jackknife.GROUPS == 20  # 2.093024 above is Student's t at 19 degrees of freedom
