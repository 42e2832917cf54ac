"""Every kernel's rows and products against loops over the N x N matrix, and its closed forms."""

import math

import pytest
import torch
from dense_reference import same_matrix, target_matrix, unit

from xmodal.config.kinds import KERNELS
from xmodal.objectives import kernels
from xmodal.objectives.engine import tiles
from xmodal.objectives.functional import target_statistics
from xmodal.objectives.kernels import Affine, Exp, OneHot, Perplexity, Power, TopK
from xmodal.same_items import SameItems

N, G = 13, 5
UNIQUE = (list(range(N)), list(range(N)))
SOME = ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 11, 12], [0, 0, 2, 3, 4, 5, 6, 0, 8, 9, 10, 10, 12])  # not transitive
MANY = ([0] * 9 + [1] * 4, list(range(N)))
ARGUMENTS = {"power": "power", "exp": "temperature", "softmax": "temperature", "top_k": "k", "perplexity": "perplexity"}
CASES = [
    ("one_hot", 0.0),
    ("affine", 0.0),
    ("power", 4.0),
    ("power", 1.5),
    ("exp", 0.1),
    ("softmax", 0.3),
    ("top_k", 3),
    ("top_k", 20),
    ("perplexity", 4.0),
    ("perplexity", 40.0),
]


def make(kind, value, **shared):
    if kind == "one_hot":
        return OneHot()
    return KERNELS.find(kind)(**({ARGUMENTS[kind]: value} if kind in ARGUMENTS else {}), **shared)


def relation(ids):
    return SameItems(torch.tensor(ids[0]), torch.tensor(ids[1]))


@pytest.mark.parametrize("block", [2**22, 30])  # 30: two rows at a time, the last block ragged
@pytest.mark.parametrize("ids", [UNIQUE, SOME, MANY], ids=["unique", "some", "many"])
@pytest.mark.parametrize(("centre", "mix"), [(False, 0.0), (True, 0.25)])
@pytest.mark.parametrize(("kind", "value"), CASES)
def test_rows_and_products_equal_the_loop(kind, value, centre, mix, ids, block, monkeypatch):
    monkeypatch.setattr(tiles, "BLOCK", block)
    guide, same = unit(N, G, 3), same_matrix(*ids)
    T = target_matrix(kind, value, guide, same, centre, mix)
    kernel = make(kind, value, centre=centre, identity_mix=mix)
    torch.testing.assert_close(T.sum(1), torch.ones(N, dtype=torch.float64))
    index = torch.tensor([12, 0, 5])
    torch.testing.assert_close(kernel.rows(guide, relation(ids), index), T[index], rtol=1e-10, atol=1e-11)
    x, y = unit(N, 4, 7), unit(N, 6, 8)
    local = slice(0, N)
    (right, wide), (left,) = kernel.products(guide, relation(ids), local, (x, y), (y,))
    torch.testing.assert_close(right, T @ x, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(wide, T @ y, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(left, T.T @ y, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("sparse", [0, 16])
def test_affine_with_duplicates_takes_either_path(sparse, monkeypatch):
    monkeypatch.setattr(kernels, "SPARSE", sparse)
    guide, x = unit(N, G, 3), unit(N, 4, 7)
    T = target_matrix("affine", 0, guide, same_matrix(*MANY))
    (right,), (left,) = Affine().products(guide, relation(MANY), slice(0, N), (x,), (x,))
    torch.testing.assert_close(right, T @ x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(left, T.T @ x, rtol=1e-12, atol=1e-12)


def test_guide_is_not_changed_and_products_carry_no_gradient():
    guide = unit(N, G, 3)
    before = guide.clone()
    x = unit(N, 4, 7, True)
    for kind, value in CASES:
        (t,), _ = make(kind, value).products(guide, relation(SOME), slice(0, N), (x,))
        assert not t.requires_grad
    assert torch.equal(guide, before)


@pytest.mark.parametrize("kind", ["affine", "power", "exp", "top_k", "perplexity"])
def test_one_item(kind):
    T = make(kind, 3.0, centre=True).rows(
        unit(1, G, 0), SameItems(torch.tensor([4]), torch.tensor([4])), torch.tensor([0])
    )
    assert T.tolist() == [[1.0]]


def test_orthonormal_guides_give_affine_weights_one_and_a_half():
    T = Affine().rows(torch.eye(6, dtype=torch.float64), SameItems(torch.arange(6), torch.arange(6)), torch.arange(6))
    weights = T / T.diagonal().unsqueeze(1)
    torch.testing.assert_close(weights, 0.5 + 0.5 * torch.eye(6, dtype=torch.float64))


def test_softmax_and_exp_are_the_same_targets():
    guide, index = unit(N, G, 3), torch.arange(N)
    want = (guide @ guide.T / 0.2).softmax(1)
    torch.testing.assert_close(Exp(temperature=0.2).rows(guide, relation(UNIQUE), index), want)
    assert KERNELS.find("softmax") is KERNELS.find("exp")


def test_affine_effective_positives_have_a_closed_form():
    """(sum w)^2 / sum w^2 with sum_j (1 + g_i.g_j)^2 = N + 2 g_i.sum g + g_i^T (G^T G) g_i."""
    g = unit(40, G, 3)
    square = 40 + 2 * g @ g.sum(0) + ((g @ (g.T @ g)) * g).sum(1)
    want = ((40 + g @ g.sum(0)) ** 2 / square).mean()
    got = target_statistics(Affine(), g, SameItems(torch.arange(40), torch.arange(40)))
    torch.testing.assert_close(got["effective_positives"], want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("perplexity", [1.01, 2.0, 8.0, 150.0])
def test_perplexity_is_what_was_asked(perplexity, dtype):
    n = 200
    rows = Perplexity(perplexity=perplexity).rows(
        unit(n, 32, 3).to(dtype), SameItems(torch.arange(n), torch.arange(n)), torch.arange(n)
    )
    reached = torch.special.entr(rows).sum(1).exp()
    torch.testing.assert_close(reached, torch.full_like(reached, perplexity), rtol=1e-4, atol=0)


def test_perplexity_with_more_equal_items_than_that_is_uniform_over_them():
    ids = ([0] * 5 + list(range(1, 9)), list(range(N)))
    rows = Perplexity(perplexity=4).rows(unit(N, G, 3), relation(ids), torch.arange(N))
    torch.testing.assert_close(rows[0], torch.tensor([0.2] * 5 + [0.0] * 8, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(torch.special.entr(rows[7]).sum().exp(), torch.tensor(4.0, dtype=torch.float64))


def test_power_keeps_the_pair_where_nothing_else_is_similar():
    guide = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    rows = Power(power=4).rows(guide, SameItems(torch.arange(2), torch.arange(2)), torch.arange(2))
    assert rows.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_top_one_is_the_pair_itself_despite_rounding():
    guide = unit(1, 7, 5).float().expand(6, 7) * 1.000001  # identical guides, cosines just above 1
    same = SameItems(torch.arange(6), torch.arange(6))
    assert bool((TopK(k=1).rows(guide, same, torch.arange(6)).diagonal() > 0).all())


@pytest.mark.parametrize("kind", ["affine", "power", "exp", "top_k", "perplexity"])
def test_statistics_of_the_sampled_anchors(kind):
    value, n = 3, 150
    guide = unit(n, G, 3)
    T = target_matrix(kind, value, guide, same_matrix(list(range(n)), list(range(n))))
    T = T[[round(i * (n - 1) / 63) for i in range(64)]]
    picked = torch.tensor([round(i * (n - 1) / 63) for i in range(64)])
    got = target_statistics(make(kind, value), guide, SameItems(torch.arange(n), torch.arange(n)))
    entropy = sum(-p * math.log(p) for p in T.flatten().tolist() if p > 0) / 64
    assert float(got["entropy"]) == pytest.approx(entropy, rel=1e-8, abs=1e-9)
    assert float(got["effective_positives"]) == pytest.approx(float((1 / (T**2).sum(1)).mean()), rel=1e-8)
    assert float(got["diagonal_mass"]) == pytest.approx(float(T.gather(1, picked[:, None]).mean()), rel=1e-8)
