"""VICReg against lightly's and pytorch-metric-learning's."""

import pytest
import torch
from dense_reference import unit
from lightly.loss import VICRegLoss
from pytorch_metric_learning.losses import VICRegLoss as MetricLearningVICReg

from xmodal.batch import Embeddings
from xmodal.errors import UserError
from xmodal.objectives import VICReg

N, D = 7, 5


def pair():
    return [(3 * unit(N, D, seed)).requires_grad_() for seed in (1, 2)]


def views(x, y):
    return Embeddings.of(image=[x, y], text=y, raw={"image": [x, y], "text": y})


@pytest.mark.parametrize("weights", [(25, 25, 1), (1, 0, 0), (0, 3, 0), (0, 0, 2)])
@pytest.mark.parametrize("sides", [("image",), ("image", "text")])
def test_equals_both_libraries_in_value_and_gradient(weights, sides):
    x, y = pair()
    invariance, variance, covariance = weights
    got = VICReg(invariance=invariance, variance=variance, covariance=covariance)(views(x, y), *sides)
    others = VICRegLoss(*weights)(x, y), MetricLearningVICReg(*weights)(x, ref_emb=y)
    for want in others:
        torch.testing.assert_close(got.value, want.to(got.value), rtol=1e-6, atol=1e-6)
        mine, theirs = (torch.autograd.grad(v, [x, y], retain_graph=True) for v in (got.value, want))
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def test_collapse_costs_all_of_the_variance():
    x = torch.ones(N, D, dtype=torch.float64)
    parts = VICReg()(views(x, x), "image").parts
    assert float(parts["variance"]) == pytest.approx(1 - 1e-2)  # 1 - sqrt(eps)
    assert float(parts["invariance"]) == float(parts["covariance"]) == 0
    assert torch.isfinite(VICReg()(views(x[:1], x[:1]), "image").value)  # a batch of one


def test_permutations_gradients_halves_and_bad_input():
    x, y = pair()
    order = torch.randperm(N)
    torch.testing.assert_close(VICReg()(views(x[order], y[order]), "image").value, VICReg()(views(x, y), "image").value)
    assert torch.autograd.gradcheck(lambda a, b: VICReg()(views(a, b), "image").value, (x, y))
    assert torch.isfinite(VICReg()(views(100 * x.bfloat16(), y.bfloat16()), "image").value)
    with pytest.raises(UserError, match=r"VICReg: eps: 0 must be greater than 0"):
        VICReg(eps=0)
    assert [need[:3] for need in VICReg.Spec().needs("image")] == [("views", "image", 2)]
    assert VICReg.Spec().needs("image", "text") == []
