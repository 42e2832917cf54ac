"""BYOL, SimSiam and MoCo v3 against lightly's cosine loss and torch's cross-entropy, and against their limits."""

import math

import pytest
import torch
from dense_reference import unit
from lightly.loss import NegativeCosineSimilarity
from torch.nn.functional import cross_entropy, normalize

from xmodal.batch import Embeddings
from xmodal.objectives import BYOL, MoCoV3, SimSiam
from xmodal.objectives.online.directions import directions

N, D = 7, 6
COSINE = NegativeCosineSimilarity()


def case(seed=0, ids=None):
    """Embeddings of two views and two sides, and the raw predictions that hold the gradient."""
    p = [3 * unit(N, D, seed + number) for number in range(4)]
    for x in p:
        x.requires_grad_()
    k = [unit(N, D, seed + 10 + number, requires_grad=True) for number in range(4)]
    ids = torch.arange(N) if ids is None else torch.tensor(ids)
    found = Embeddings.of(
        image=k[:2],
        text=k[2:],
        predicted={"image": p[:2], "text": p[2:]},
        target={"image": k[:2], "text": k[2:]},
        ids=ids,
    )
    return found, p, k


def closely(got, want, leaves):
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    pairs = (torch.autograd.grad(x, leaves, retain_graph=True, allow_unused=True) for x in (got, want))
    torch.testing.assert_close(*pairs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("sides", [("image",), ("image", "text")])
@pytest.mark.parametrize("symmetric", [True, False])
def test_byol_and_simsiam_are_lightlys_cosines_with_the_keys_held_still(sides, symmetric):
    e, p, k = case()
    p1, p2, k1, k2 = (p[0], p[1], k[0], k[1]) if len(sides) == 1 else (p[0], p[2], k[0], k[2])
    ways = [COSINE(p1, k2.detach())] + [COSINE(p2, k1.detach())] * symmetric
    closely(BYOL(symmetric=symmetric)(e, *sides).value, sum(2 + 2 * way for way in ways), p)
    closely(SimSiam(symmetric=symmetric)(e, *sides).value, sum(ways) / len(ways), p)
    for loss in (BYOL(symmetric=symmetric)(e, *sides), SimSiam(symmetric=symmetric)(e, *sides)):
        assert torch.autograd.grad(loss.value, k, allow_unused=True, retain_graph=True) == (None,) * 4


@pytest.mark.parametrize("sides", [("image",), ("image", "text")])
def test_moco_v3_is_a_cross_entropy_times_two_tau(sides):
    e, p, k = case()
    p1, p2, k1, k2 = (p[0], p[1], k[0], k[1]) if len(sides) == 1 else (p[0], p[2], k[0], k[2])
    objective = MoCoV3(temperature=0.2, symmetric=True)
    diagonal = torch.arange(N)
    both = [
        2 * 0.2 * cross_entropy(normalize(q, dim=1) @ x.detach().T / 0.2, diagonal) for q, x in ((p1, k2), (p2, k1))
    ]
    got = objective(e, *sides).value
    torch.testing.assert_close(got, sum(both), rtol=1e-6, atol=1e-6)  # the scale is made in fp32
    for mine, theirs in zip(
        torch.autograd.grad(got, p, allow_unused=True),
        torch.autograd.grad(sum(both), p, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    mean = MoCoV3(temperature=0.2, symmetric=True, reduction="mean")(e, *sides).value
    torch.testing.assert_close(mean, got / 2)


def test_moco_v3_leaves_equal_items_out():
    ids = [0, 1, 2, 0, 4, 5, 1]
    e, p, k = case(ids=ids)
    got = MoCoV3(temperature=0.5, symmetric=False)(e, "image").value
    total = 0.0
    for i in range(N):
        q = p[0][i] / p[0][i].norm()
        logits = torch.stack([q @ k[1][j].detach() / 0.5 for j in range(N) if j == i or ids[j] != ids[i]])
        total = total + 2 * 0.5 * (logits.logsumexp(0) - q @ k[1][i].detach() / 0.5)
    torch.testing.assert_close(got, total / N, rtol=1e-6, atol=1e-6)


def test_limits():
    z = unit(1, D, 1).expand(N, D).contiguous()
    e = Embeddings.of(image=[z, z], predicted={"image": [z, z]}, target={"image": [z, z]})
    assert float(BYOL()(e, "image").value) == pytest.approx(0, abs=1e-12)
    assert float(SimSiam()(e, "image").value) == pytest.approx(-1)
    assert float(MoCoV3(temperature=0.1)(e, "image").value) == pytest.approx(2 * 2 * 0.1 * math.log(N), rel=1e-6)
    assert float(SimSiam()(e, "image").parts["spread"]) == pytest.approx(0, abs=1e-6)
    wide = Embeddings.of(image=(x := unit(4000, 16, 3)), text=x, predicted={"image": x})
    assert float(SimSiam()(wide, "image", "text").parts["spread"]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", [BYOL, SimSiam, MoCoV3])
def test_the_order_of_items_and_a_rotation_of_all_spaces_change_nothing(kind):
    e, p, k = case()
    order, turn = torch.randperm(N), torch.linalg.qr(unit(D, D, 9))[0]
    other = [x[order] @ turn for x in p], [x[order] @ turn for x in k]
    moved = Embeddings.of(image=other[1][:2], predicted={"image": other[0][:2]}, target={"image": other[1][:2]})
    torch.testing.assert_close(kind()(moved, "image").value, kind()(e, "image").value)


@pytest.mark.parametrize("kind", [BYOL, SimSiam, MoCoV3])
def test_gradients_and_halves(kind):
    _, p, k = case()

    def value(x):
        held = {"image": [x, p[1].detach()]}
        given = Embeddings.of(image=k[:2], predicted=held, target={"image": k[:2]})
        return kind().double()(given, "image").value

    assert torch.autograd.gradcheck(value, (p[0].detach().requires_grad_(),))
    half = [[x.detach().bfloat16() for x in xs] for xs in (p[:2], k[:2])]
    half[0][0].requires_grad_()
    settings = {"temperature": 0.01} if kind is MoCoV3 else {}
    loss = kind(**settings)(
        Embeddings.of(image=half[1], predicted={"image": half[0]}, target={"image": half[1]}), "image"
    )
    [gradient] = torch.autograd.grad(loss.value, half[0][0])
    assert torch.isfinite(loss.value)
    assert torch.isfinite(gradient).all()


def test_directions_and_needs():
    assert directions(["a"], True) == [(("a", 0), ("a", 1)), (("a", 1), ("a", 0))]
    assert directions(["a", "b"], False) == [(("a", 0), ("b", 0))]
    told = [[(n.what, n.side) for n in kind.Spec().needs("a")] for kind in (BYOL, SimSiam, MoCoV3)]
    views, target, predicted = ("views", "a"), ("target", "a"), ("predicted", "a")
    assert told == [[views, target, predicted], [views, predicted], [views, target, predicted]]
    assert [(n.what, n.side) for n in BYOL.Spec().needs("a", "b")] == [("target", "b"), ("predicted", "a")]
    assert {(n.what, n.side) for n in SimSiam.Spec(symmetric=True).needs("a", "b")} == {predicted, ("predicted", "b")}
