"""OUCL against its equation as a loop, its closed form, and circle loss of another library."""

import math

import pytest
import torch
from dense_reference import unit
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.losses import CircleLoss
from pytorch_metric_learning.reducers import MeanReducer

from xmodal.batch import Clock, Embeddings
from xmodal.errors import UserError
from xmodal.objectives import OUCL
from xmodal.objectives.metaug.oucl import oucl_rows

N, D, BETA, G = 7, 5, 16.0, 0.25
FIRST, SECOND = [0, 1, 2, 0, 4, 5, 6], [0, 1, 1, 3, 4, 5, 6]


def embeddings(a, k, ids=True):
    given = {"speech": torch.tensor(FIRST), "text": torch.tensor(SECOND)} if ids else None
    return Embeddings.of(speech=a, text=k, item_ids=given)


def anchor(d, positive, beta=BETA, g=G):
    """The equation of one anchor: d and who is a positive, as lists."""
    up, down = [], []
    for x, same in zip(d, positive, strict=True):
        if same:
            down.append(-beta * max(1 + g - x.item(), 0) * (x - (1 - g)))
        else:
            up.append(beta * max(x.item() + g, 0) * (x - g))
    return torch.log(1 + sum(x.exp() for x in up) * sum(x.exp() for x in down)) / beta


def loop(a, k, first=FIRST, second=SECOND):
    total = 0.0
    for anchors, keys in ((a, k), (k, a)):
        for i in range(len(a)):
            same = [first[i] == first[j] or second[i] == second[j] for j in range(len(a))]
            total = total + anchor([(1 + anchors[i] @ y) / 2 for y in keys], same)
    return total / (2 * len(a))


def test_equals_the_loop_and_detached_weights_have_its_slope():
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    e, want = embeddings(a, k), loop(a, k)  # the loop's weights are plain numbers
    got, detached = OUCL()(e, "speech", "text"), OUCL(detach_weights=True)(e, "speech", "text").value
    torch.testing.assert_close([got.value, detached, got.parts["loss"]], [want, want, want.detach()], rtol=0, atol=1e-9)
    slope = torch.autograd.grad(detached, (a, k))
    torch.testing.assert_close(slope, torch.autograd.grad(want, (a, k)), rtol=0, atol=1e-9)
    assert not torch.allclose(slope[0], torch.autograd.grad(got.value, a)[0])
    both = OUCL(reduction="sum")(e, "speech", "text").value
    torch.testing.assert_close(both, 2 * want)


def test_equals_the_closed_form_in_value_and_gradient():
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    d, same = (1 + a @ k.T) / 2, torch.eye(N, dtype=torch.bool)
    up = (BETA * (d**2 - G**2)).exp().masked_fill(same, 0)
    down = (BETA * ((1 - d) ** 2 - G**2)).exp() * same
    want = ((1 + up.sum(1) * down.sum(1)).log() + (1 + up.sum(0) * down.sum(0)).log()).mean() / (2 * BETA)
    got = OUCL()(embeddings(a, k, ids=False), "speech", "text").value
    torch.testing.assert_close(got, want, rtol=0, atol=1e-9)
    gradients = torch.autograd.grad(got, (a, k)), torch.autograd.grad(want, (a, k))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-9)


class Halved(CosineSimilarity):
    """(1 + cos) / 2, which circle loss's is not: its similarity is the cosine."""

    def compute_mat(self, query_emb, ref_emb):
        return (1 + query_emb @ ref_emb.T) / 2


def test_equals_circle_loss_with_weights_detached():
    x1, x2 = unit(N, D, 1, True), unit(N, D, 2, True)
    a, k = (torch.nn.functional.normalize(2 * x, dim=1) for x in (x1, x2))  # it normalises what it is given
    circle = CircleLoss(m=G, gamma=BETA, distance=Halved(), reducer=MeanReducer())
    labels = torch.tensor([0, 1, 2, 0, 4, 1, 6])
    losses = [circle(x, labels, ref_emb=y, ref_labels=labels.clone()) / BETA for x, y in ((a, k), (k, a))]
    want = (losses[0] + losses[1]) / 2
    e = Embeddings.of(speech=a, text=k, item_ids={"speech": labels})
    got = OUCL(detach_weights=True)(e, "speech", "text").value
    torch.testing.assert_close(got, want, rtol=0, atol=1e-8)  # their softplus is linear from 20 on
    gradients = torch.autograd.grad(got, (x1, x2), retain_graph=True), torch.autograd.grad(want, (x1, x2))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-7)


def test_weights_stop_at_zero():
    positive = torch.tensor([[True, False, False]])
    d = torch.tensor([[1.5, -0.5, 0.4]], dtype=torch.float64)  # no unit vectors: there the weights are above 0
    torch.testing.assert_close(oucl_rows(positive, d, BETA, G)[0], anchor(d[0], positive[0].tolist()))


def test_two_views_are_two_sides_and_schedules_are_followed():
    a, k = unit(N, D, 1), unit(N, D, 2)
    want = OUCL(beta=8, gamma=0.1)(embeddings(a, k, ids=False), "speech", "text").value
    falling = OUCL(beta={"schedule": "linear", "from": 4, "to": 12}, gamma=0.1)
    torch.testing.assert_close(falling(Embeddings.of(x=[a, k], clock=Clock(1, 3)), "x").value, want)


def test_identical_embeddings_and_one_item_alone():
    z = unit(1, D, 1).expand(N, D)
    value = OUCL()(embeddings(z, z, ids=False), "speech", "text").value
    assert float(value) == pytest.approx(math.log(1 + (N - 1) * math.exp(BETA * (1 - 2 * G**2))) / BETA)
    x = unit(N, D, 1, True)
    alone = OUCL()(Embeddings.of(x=[x, unit(N, D, 2)], item_ids={"x": torch.zeros(N)}), "x").value
    assert not bool(alone)
    assert not bool(torch.autograd.grad(alone, x)[0].any())


def test_gradients_and_what_changes_nothing(monkeypatch):
    from xmodal.objectives.engine import tiles

    a, k = unit(N, D, 1, True), unit(N, D, 2, True)

    def value(x, y):
        return OUCL(beta=4)(embeddings(x, y), "speech", "text").value

    assert torch.autograd.gradcheck(value, (a, k))
    assert torch.autograd.gradgradcheck(value, (a, k))
    whole, rotation = value(a, k), torch.linalg.qr(unit(D, D, 3))[0]
    torch.testing.assert_close(value(a @ rotation, k @ rotation), whole)
    order = torch.tensor([3, 0, 4, 1, 2, 6, 5])
    items = {"speech": torch.tensor(FIRST)[order], "text": torch.tensor(SECOND)[order]}
    moved = Embeddings.of(speech=a[order], text=k[order], item_ids=items)
    torch.testing.assert_close(OUCL(beta=4)(moved, "speech", "text").value, whole)
    monkeypatch.setattr(tiles, "BLOCK", 2 * N)
    parts = value(a, k)
    torch.testing.assert_close(torch.autograd.grad(parts, (a, k)), torch.autograd.grad(whole, (a, k)))


def test_stays_finite_in_bf16_and_says_what_is_wrong():
    a = unit(N, D, 1).bfloat16().requires_grad_()
    value = OUCL(beta=1000)(Embeddings.of(speech=a, text=-a), "speech", "text").value
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(torch.autograd.grad(value, a)[0]).all())
    with pytest.raises(UserError, match=r"OUCL: gamma: 2 must be at most 1"):
        OUCL(gamma=2)


def test_an_anchor_without_negatives_has_second_derivatives():
    ids = {"speech": torch.tensor([0, 0, 1, 0]), "text": torch.tensor([5, 1, 5, 2])}  # the first is the same as all
    a, k = unit(4, D, 1, True), unit(4, D, 2, True)
    value = OUCL(beta=4)(Embeddings.of(speech=a, text=k, item_ids=ids), "speech", "text").value
    want = loop(a, k, ids["speech"].tolist(), ids["text"].tolist())
    torch.testing.assert_close(OUCL()(Embeddings.of(speech=a, text=k, item_ids=ids), "speech", "text").value, want)
    slope = torch.autograd.grad(value, (a, k), create_graph=True)
    for second in torch.autograd.grad(sum(x.square().sum() for x in slope), (a, k)):
        assert bool(torch.isfinite(second).all())
        assert bool(second.any())
