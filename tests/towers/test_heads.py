"""Heads against their formulas, and against their specs."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from xmodal.errors import UserError
from xmodal.towers.batch_norm import BatchNorm
from xmodal.towers.heads import GLU, MLP, Identity, Linear, build_head


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


@pytest.mark.parametrize(
    "spec", [Identity.Spec(), Linear.Spec(), MLP.Spec(), GLU.Spec(), MLP.Spec(layers=3, norm="layer")]
)
def test_dimensions(spec):
    identity = spec.kind == "identity"
    assert build_head(spec, 6).dim == 6
    assert build_head(spec, 6, out_dim=9).dim == (6 if identity else 9)
    assert build_head(spec, 6, out_dim=9)(torch.randn(2, 6)).shape == (2, 6 if identity else 9)
    if not identity:
        assert build_head(spec.model_copy(update={"dim": 3}), 6, out_dim=9).dim == 3


BY_HAND = {
    (1, "none", "gelu"): lambda: nn.Sequential(nn.Linear(4, 3)),
    (2, "none", "gelu"): lambda: nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Dropout(0), nn.Linear(6, 3)),
    (2, "batch", "relu"): lambda: nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0), nn.Linear(6, 3)
    ),
    (3, "layer", "silu"): lambda: nn.Sequential(
        nn.Linear(4, 6), nn.LayerNorm(6), nn.SiLU(), nn.Dropout(0),
        nn.Linear(6, 6), nn.LayerNorm(6), nn.SiLU(), nn.Dropout(0), nn.Linear(6, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("layers", "norm", "activation"), BY_HAND)
def test_an_mlp_is_torchs_modules_in_a_row(layers, norm, activation):
    head, theirs = (
        MLP(4, 3, hidden=6, layers=layers, norm=norm, activation=activation),
        BY_HAND[layers, norm, activation](),
    )
    theirs.load_state_dict(head.state_dict())  # the same names: runs written before there were such settings load
    x = torch.randn(5, 4)
    for _ in range(2):
        torch.testing.assert_close(head(x), theirs(x))
    torch.testing.assert_close(head.eval()(x), theirs.eval()(x))  # and so do the running statistics


def test_glu_by_formula():
    head, x = GLU(4, 3, hidden=6), torch.randn(5, 4)
    one, gate, out = (m.weight.detach().numpy() for m in (head.linear, head.gate, head.project))
    biases = [m.bias.detach().numpy() for m in (head.linear, head.gate, head.project)]
    gated = (x.numpy() @ one.T + biases[0]) * np.clip(x.numpy() @ gate.T + biases[1], 0, 6)
    np.testing.assert_allclose(head(x).detach().numpy(), gated @ out.T + biases[2], atol=1e-5)


def test_a_batch_of_one_row_is_normalised_to_the_bias():
    layer = BatchNorm(4)
    torch.nn.init.uniform_(layer.bias)
    torch.testing.assert_close(layer(torch.randn(1, 4)), layer.bias[None])
    assert layer(torch.randn(1, 4).bfloat16()).dtype == nn.BatchNorm1d(4)(torch.randn(3, 4).bfloat16()).dtype


def test_settings_out_of_range_are_one_line():
    with pytest.raises(UserError, match=r"MLP: layers: 4 must be at most 3"):
        MLP(4, layers=4)
    with pytest.raises(UserError, match=r"MLP: norm: 'bach' is not one of none, batch, layer; did you mean batch\?"):
        MLP(4, norm="bach")
