"""Barlow Twins against lightly's."""

import pytest
import torch
from dense_reference import unit
from lightly.loss import BarlowTwinsLoss

from xmodal.batch import Embeddings
from xmodal.errors import UserError
from xmodal.objectives import BarlowTwins

N, D = 7, 5


def pair():
    return [(3 * unit(N, D, seed)).requires_grad_() for seed in (1, 2)]


def views(x, y):
    return Embeddings.of(image=[x, y], text=y, raw={"image": [x, y], "text": y})


@pytest.mark.parametrize("redundancy", [0.005, 0, 2.0])
@pytest.mark.parametrize("sides", [("image",), ("image", "text")])
def test_equals_lightly_in_value_and_gradient(redundancy, sides):
    x, y = pair()
    got = BarlowTwins(redundancy=redundancy)(views(x, y), *sides).value
    want = BarlowTwinsLoss(lambda_param=redundancy)(x, y)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    mine, theirs = (torch.autograd.grad(v, [x, y], retain_graph=True) for v in (got, want))
    torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-9)


def test_equal_views_of_uncorrelated_dimensions_cost_nothing():
    x = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert float(BarlowTwins()(views(x, x), "image").value) == pytest.approx(0, abs=1e-8)
    parts = BarlowTwins()(views(x, -x), "image").parts
    assert float(parts["invariance"]) == pytest.approx(8, rel=1e-4)  # (1 - -1)^2 in each of two dimensions


def test_permutations_scales_gradients_halves_and_bad_input():
    x, y = pair()
    order = torch.randperm(N)
    value = BarlowTwins()(views(x, y), "image").value
    torch.testing.assert_close(BarlowTwins()(views(x[order], y[order]), "image").value, value)
    torch.testing.assert_close(BarlowTwins()(views(100 * x + 3, y), "image").value, value, rtol=1e-4, atol=1e-4)
    assert torch.autograd.gradcheck(lambda a, b: BarlowTwins()(views(a, b), "image").value, (x, y))
    assert torch.isfinite(BarlowTwins()(views(100 * x.bfloat16(), y.bfloat16()), "image").value)
    with pytest.raises(UserError, match=r"BarlowTwins: redundancy: -1 must be at least 0"):
        BarlowTwins(redundancy=-1)
