"""NT-Xent against lightly's, SimCLR's loop, and its identities."""

import math

import pytest
import torch
from dense_reference import unit
from lightly.loss import NTXentLoss

from xmodal.batch import Embeddings
from xmodal.objectives import InfoNCE, NTXent

N, D = 9, 6


def loop(z1, z2, tau, same=None):
    """2002.05709, equation 1, as a loop over the 2N views; `same[i]` are the items equal to i, i included."""
    z, total = torch.cat([z1, z2]), 0.0
    n = len(z1)
    for i in range(2 * n):
        positive = (i + n) % (2 * n)
        mine = same[i % n] if same else {i % n}
        others = [j for j in range(2 * n) if j % n not in mine] + [positive]
        logits = torch.stack([z[i] @ z[j] / tau for j in others])
        total = total - (z[i] @ z[positive] / tau - logits.logsumexp(0))
    return total / (2 * n)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_equals_lightly_and_the_papers_loop(tau):
    x1, x2 = unit(N, D, 1, True), unit(N, D, 2, True)
    z1, z2 = (torch.nn.functional.normalize(2 * x, dim=1) for x in (x1, x2))  # lightly normalises what it is given
    got = NTXent(temperature=tau).double()(Embeddings.of(image=[z1, z2]), "image")
    want = NTXentLoss(temperature=tau)(z1, z2)
    torch.testing.assert_close(got.value, want, rtol=1e-6, atol=1e-6)  # log_scale starts as fp32
    torch.testing.assert_close(got.value, loop(z1, z2, tau), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got.parts["loss"], want.detach(), rtol=1e-6, atol=1e-6)
    gradients = torch.autograd.grad(got.value, (x1, x2), retain_graph=True), torch.autograd.grad(want, (x1, x2))
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-7)


def test_equal_items_are_no_negatives():
    z1, z2 = unit(N, D, 1, True), unit(N, D, 2)
    ids = torch.tensor([0, 1, 2, 0, 4, 5, 1, 1, 8])
    got = NTXent(temperature=0.5).double()(Embeddings.of(image=[z1, z2], item_ids={"image": ids}), "image").value
    same = [{j for j in range(N) if ids[i] == ids[j]} for i in range(N)]
    want = loop(z1, z2, 0.5, same)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.autograd.grad(got, z1), torch.autograd.grad(want, z1), rtol=1e-6, atol=1e-7)


def test_two_sides_are_two_views_of_an_item():
    a, k = unit(N, D, 1), unit(N, D, 2)
    objective = NTXent(temperature=0.2).double()
    two = objective(Embeddings.of(speech=a, text=k), "speech", "text").value
    torch.testing.assert_close(two, objective(Embeddings.of(x=[a, k]), "x").value)


def test_identical_embeddings_give_the_logarithm_of_the_terms():
    z = unit(1, D, 1).expand(N, D)
    value = NTXent().double()(Embeddings.of(image=[z, z]), "image").value
    assert float(value) == pytest.approx(math.log(2 * N - 1), rel=1e-6)


def test_blocks_change_nothing(monkeypatch):
    from xmodal.objectives.engine import tiles

    z1, z2 = unit(N, D, 1, True), unit(N, D, 2, True)
    objective = NTXent(temperature=0.3).double()
    whole = objective(Embeddings.of(image=[z1, z2]), "image").value
    monkeypatch.setattr(tiles, "BLOCK", 4 * N)
    parts = objective(Embeddings.of(image=[z1, z2]), "image").value
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, (z1, z2)), torch.autograd.grad(whole, (z1, z2)))


def test_permuting_and_rotating_change_nothing_and_gradcheck():
    z1, z2 = unit(5, D, 1, True), unit(5, D, 2, True)
    objective = NTXent(temperature=0.3).double()

    def value(first, second):
        return objective(Embeddings.of(image=[first, second]), "image").value

    order = torch.tensor([3, 0, 4, 1, 2])
    rotation = torch.linalg.qr(torch.randn(D, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    torch.testing.assert_close(value(z1[order], z2[order]), value(z1, z2))
    torch.testing.assert_close(value(z1 @ rotation, z2 @ rotation), value(z1, z2))
    assert torch.autograd.gradcheck(value, (z1, z2))
    assert torch.autograd.gradgradcheck(value, (z1, z2))


def test_stays_finite_in_bf16_at_scale_100():
    z1, z2 = unit(N, D, 1).bfloat16(), unit(N, D, 2).bfloat16()
    e = Embeddings.of(image=[z1, z2], text=z2)
    total = NTXent(temperature=0.01)(e, "image").value + InfoNCE(temperature=0.01)(e, "image", "text").value
    assert bool(torch.isfinite(total))
