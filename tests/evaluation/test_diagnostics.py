"""Diagnostics against loops, closed forms, scipy, and what each must be where the answer is known."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.errors import UserError
from xmodal.evaluation import diagnostics
from xmodal.evaluation.diagnostics import (
    alignment,
    effective_positives,
    linear_cka,
    linear_separability,
    modality_gap,
    mutual_knn,
    nearest,
    uniformity,
)
from xmodal.objectives import kernels
from xmodal.objectives.kernels import Affine, Exp, TopK


def points(n: int, d: int, seed: int) -> Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def rotation(d: int) -> Tensor:
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(9), dtype=torch.float64))[0]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, the last one ragged."""
    monkeypatch.setattr(kernels, "BLOCK", 7 * 53)


A, B = points(53, 8, 0), normalize(points(53, 8, 0) + 0.8 * points(53, 8, 1), dim=1)


# ------------------------------------------------------------------------------------------------------------ one space


def test_uniformity_is_scipys_mean_over_pairs(small_blocks: None) -> None:
    expected = math.log(np.exp(-2 * pdist(A.numpy().astype(float), "sqeuclidean")).mean())
    assert uniformity(A).value == pytest.approx(expected, abs=1e-6)
    expected = math.log(np.exp(-0.5 * pdist(A.numpy().astype(float), "sqeuclidean")).mean())
    assert uniformity(A, t=0.5).value == pytest.approx(expected, abs=1e-6)


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


def test_modality_gap() -> None:
    shift = torch.tensor([3.0, 4, 0, 0, 0, 0, 0, 0])
    assert modality_gap(A, A + shift).value == pytest.approx(5)
    assert modality_gap(A, A).value == 0
    found = modality_gap(A, B)
    expected = np.linalg.norm(A.double().numpy().mean(0) - B.double().numpy().mean(0))
    assert found.value == pytest.approx(expected)
    values = []
    for group in range(20):
        kept = np.arange(53) % 20 != group
        values.append(np.linalg.norm(A.double().numpy()[kept].mean(0) - B.double().numpy()[kept].mean(0)))
    error = math.sqrt(19 / 20 * ((np.array(values) - np.mean(values)) ** 2).sum())
    assert found.high - found.value == pytest.approx(2.093024 * error, rel=1e-5)


def test_alignment() -> None:
    assert alignment(A, A) == pytest.approx(0)
    assert alignment(A, -A) == pytest.approx(4, rel=1e-6)
    expected = [
        sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for a, b in zip(A.tolist(), B.tolist(), strict=True)
    ]
    assert alignment(A, B) == pytest.approx(expected)
    assert alignment(A, B, alpha=1) == pytest.approx(np.sqrt(expected))


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


def test_linear_cka() -> None:
    a, b = A.double().numpy(), B.double().numpy()[:, :5]
    H = np.eye(53) - 1 / 53
    K, L = H @ a @ a.T @ H, H @ b @ b.T @ H  # the definition by n x n Gram matrices: HSIC
    expected = np.trace(K @ L) / math.sqrt(np.trace(K @ K) * np.trace(L @ L))
    assert linear_cka(A, B[:, :5]).value == pytest.approx(expected, rel=1e-9)
    moved = 7 * A.double() @ rotation(8) + 5
    assert linear_cka(A, moved).value == pytest.approx(1, abs=1e-9)
    assert linear_cka(A, A).value == pytest.approx(1)
    apart = torch.zeros(40, 4)
    apart[::2, 0], apart[1::2, 0] = 1, -1
    other = torch.zeros(40, 4)
    other[:20, 1], other[20:, 1] = 1, -1
    assert linear_cka(apart, other).value == pytest.approx(0, abs=1e-12)
    assert math.isnan(linear_cka(A, torch.ones(53, 3)).value)


def test_jackknife_of_cka_leaves_groups_out() -> None:
    whole = linear_cka(A, B)
    values = []
    for group in range(20):
        kept = torch.arange(53) % 20 != group
        values.append(linear_cka(A[kept], B[kept]).value)
    error = math.sqrt(19 / 20 * ((np.array(values) - np.mean(values)) ** 2).sum())
    assert whole.high - whole.value == pytest.approx(2.093024 * error, rel=1e-5)


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
    for function in (modality_gap, alignment, linear_separability, mutual_knn, linear_cka):
        with pytest.raises(UserError, match="53 and 52 embeddings"):
            function(A, B[:52])
    for function in (modality_gap, alignment, linear_separability):
        with pytest.raises(UserError, match="8 and 5 dimensions"):
            function(A, B[:, :5])
    with pytest.raises(UserError, match="10 items, expected more than k"):
        mutual_knn(A[:10], B[:10])
    with pytest.raises(UserError, match="2 items, expected at least 3"):
        modality_gap(A[:2], B[:2])
    assert diagnostics.GROUPS == 20  # 2.093024 above is Student's t at 19 degrees of freedom
