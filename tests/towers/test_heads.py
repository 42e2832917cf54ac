"""Heads against their formulas, and against their specs."""

import math

import numpy as np
import pytest
import torch

from xmodal.towers.heads import MLP, Identity, Linear, build_head


def test_identity():
    x = torch.randn(3, 5)
    assert torch.equal(Identity(5)(x), x)
    assert Identity(5).dim == 5


def test_linear_by_loop():
    head, x = Linear(4, 2), torch.randn(3, 4)
    for row, out in zip(x.tolist(), head(x).tolist(), strict=True):
        for weights, bias, value in zip(head.weight.tolist(), head.bias.tolist(), out, strict=True):
            assert value == pytest.approx(sum(w * v for w, v in zip(weights, row, strict=True)) + bias, abs=1e-6)


def test_mlp_by_formula():
    head, x = MLP(4, 2, hidden=6, dropout=0.5).eval(), torch.randn(3, 4)
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in head.parameters())
    inner = x.double().numpy() @ w1.T + b1
    erf = np.vectorize(math.erf)
    expected = (inner * 0.5 * (1 + erf(inner / math.sqrt(2)))) @ w2.T + b2
    np.testing.assert_allclose(head(x).detach().numpy(), expected, atol=1e-6)


def test_dropout_only_in_training():
    head, x = MLP(4, dropout=0.5), torch.randn(2, 4)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


@pytest.mark.parametrize("spec", [Identity.Spec(), Linear.Spec(), MLP.Spec()])
def test_dimensions(spec):
    identity = spec.kind == "identity"
    assert build_head(spec, 6).dim == 6
    assert build_head(spec, 6, out_dim=9).dim == (6 if identity else 9)
    assert build_head(spec, 6, out_dim=9)(torch.randn(2, 6)).shape == (2, 6 if identity else 9)
    if not identity:
        assert build_head(spec.model_copy(update={"dim": 3}), 6, out_dim=9).dim == 3
