"""STRUCTURE against loops from its definition."""

import math

import pytest
import torch
from dense_reference import unit

from xmodal.batch import Embeddings
from xmodal.errors import UserError
from xmodal.objectives import Structure
from xmodal.objectives.engine import tiles

N, D, G = 7, 5, 8


def divergence(g, z, tau):
    """The mean over rows of the Jensen-Shannon divergence, entry by entry."""
    g, z = g - g.mean(0), z - z.mean(0)
    total = 0.0
    for i in range(N):
        p = torch.stack([(g[i] @ g[j] / tau).exp() for j in range(N)])
        q = torch.stack([(z[i] @ z[j] / tau).exp() for j in range(N)])
        p, q = p / p.sum(), q / q.sum()
        for j in range(N):
            m = (p[j] + q[j]) / 2
            total = total + (p[j] * (p[j] / m).log() + q[j] * (q[j] / m).log()) / 2
    return total / N


def case():
    z, k = unit(N, D, 1, requires_grad=True), unit(N, D, 2, requires_grad=True)
    guide = {"image": unit(N, G, 3), "text": unit(N, G, 4)}
    return Embeddings.of(image=z, text=k, guide=guide), z, k, guide


@pytest.mark.parametrize("block", [1, 2**22])
@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_equals_its_loops_in_value_and_gradient(tau, block, monkeypatch):
    monkeypatch.setattr(tiles, "BLOCK", block)
    e, z, k, guide = case()
    one, both = Structure(temperature=tau)(e, "image"), Structure(temperature=tau)(e, "image", "text")
    want = divergence(guide["image"], z, tau)
    torch.testing.assert_close(one.value, want, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(one.value, z)[0], torch.autograd.grad(want, z)[0], rtol=1e-8, atol=1e-10
    )
    want = (divergence(guide["image"], z, tau) + divergence(guide["text"], k, tau)) / 2
    torch.testing.assert_close(both.value, want, rtol=1e-9, atol=1e-12)
    pairs = (torch.autograd.grad(value, [z, k]) for value in (both.value, want))
    torch.testing.assert_close(*pairs, rtol=1e-8, atol=1e-10)


def test_limits_permutations_rotations():
    e, z, _, guide = case()
    same = Embeddings.of(image=guide["image"].clone().requires_grad_(), guide=guide)
    assert float(Structure()(same, "image").value.detach()) == pytest.approx(0, abs=1e-12)
    value = Structure()(e, "image").value
    assert 0 < float(value.detach()) < math.log(2)
    order, turn = torch.randperm(N), torch.linalg.qr(unit(D, D, 7))[0]
    moved = Embeddings.of(image=(z @ turn)[order], guide={"image": guide["image"][order]})
    torch.testing.assert_close(Structure()(moved, "image").value, value)


def test_gradients_halves_and_bad_input():
    _, z, _, guide = case()
    both = lambda x: Structure(temperature=0.3)(Embeddings.of(image=x, guide=guide), "image").value  # noqa: E731
    assert torch.autograd.gradcheck(both, (z,))
    assert torch.autograd.gradgradcheck(both, (z,))
    half = Embeddings.of(image=z.bfloat16(), guide={"image": guide["image"].bfloat16()})
    loss = Structure(temperature=0.001)(half, "image")
    assert torch.isfinite(loss.value)
    assert torch.isfinite(torch.autograd.grad(loss.value, z)[0]).all()
    with pytest.raises(UserError, match=r"Structure: temperature: 0 must be greater than 0"):
        Structure(temperature=0)
