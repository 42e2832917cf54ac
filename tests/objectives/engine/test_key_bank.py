"""Keys and targets over a whole store against the dense matrix, and against the batch where that is the store."""

import math

import numpy as np
import pytest
import torch
from dense_reference import direction_loss, embeddings, one_hot, same_matrix, unit, weight_row
from kernel_cases import CASES

from xmodal.errors import UserError
from xmodal.objectives import CWCL, InfoNCE, KeyBank
from xmodal.objectives.engine import key_bank
from xmodal.objectives.engine.store_targets import StoreTargets
from xmodal.objectives.kernels import Affine, Power

M, N, D = 41, 12, 6
PLACES = torch.arange(3, 3 + 2 * N, 2)  # of the batch's items in the store


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(key_bank, "BLOCK", 7)
    monkeypatch.setattr(key_bank, "ANCHORS", 5)


def keys():
    return unit(M, D, 11)


def bank(factor=1.0):
    return KeyBank((factor * keys()).numpy(), np.arange(M))


@pytest.mark.parametrize("scale", [1.0, 30.0, 100.0, 2000.0])
def test_row_logsumexp_equals_dense(scale):
    a = unit(N, D, 1, True)
    s = torch.tensor([scale], dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got, want = bank(3.0).row_logsumexp(a, s), (s * a @ keys().T).logsumexp(1)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    got, want = (torch.autograd.grad(x, (a, s), upstream) for x in (got, want))
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10 * scale)


def test_row_logsumexp_gradcheck_and_fp32_at_a_large_scale():
    a, s = unit(4, D, 1, True), torch.tensor([5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bank().row_logsumexp, (a, s))
    # far from every key: the shared exponential underflows, the running maxima do not
    far = torch.nn.functional.normalize(-keys().mean(0, keepdim=True) - 5 * unit(1, D, 3), dim=1)
    got = bank().row_logsumexp(far.float().requires_grad_(), torch.tensor([400.0]))
    torch.testing.assert_close(got.double(), (400 * far @ keys().T).logsumexp(1), rtol=1e-5, atol=0)
    assert torch.isfinite(torch.autograd.grad(got.sum(), got.grad_fn.next_functions[0][0].variable)[0]).all()


def test_half_precision_anchors_keep_their_type():
    a = unit(N, D, 1).bfloat16().requires_grad_()
    out = bank().row_logsumexp(a, torch.tensor([100.0]))
    assert out.dtype == torch.float32
    assert torch.autograd.grad(out.sum(), a)[0].dtype == torch.bfloat16


def weights(name, mean=None):
    kernel, (kind, value) = CASES[name]
    g = keys() if mean is None else torch.nn.functional.normalize(keys() - mean, dim=1)
    rows = [weight_row(kind, value, [1.0 if i == j else float(g[i] @ g[j]) for j in range(M)]) for i in PLACES.tolist()]
    w = torch.tensor(rows, dtype=torch.float64)
    return kernel, w / w.sum(1, keepdim=True)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shared", [{}, {"centre": True}, {"identity_mix": 0.3}])
def test_store_targets_equal_dense(name, shared):
    kernel, T = weights(name, keys().mean(0) if "centre" in shared else None)
    kernel = type(kernel)(**(vars(kernel) | shared))
    targets, guide = StoreTargets(kernel, bank(0.5)), keys()[PLACES]
    mix = shared.get("identity_mix", 0.0)
    for _ in range(2):  # the second time from the moments that were kept
        torch.testing.assert_close(targets(guide), (1 - mix) * (T @ keys()) + mix * guide, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(targets.rows(guide), T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cwcl_over_the_store_equals_the_dense_formula(name, reduction):
    kernel, T = weights(name)
    objective = CWCL(kernel=kernel, temperature=0.1, reduction=reduction, keys="store", scope="store")
    objective = objective.double()
    a, k, s = unit(N, D, 1, True), keys()[PLACES], objective.log_scale.detach().clone().requires_grad_()
    want = direction_loss(s.exp() * a @ keys().T, T)
    want = want + direction_loss(s.exp() * k @ a.T, torch.eye(N, dtype=torch.float64))
    want = (want / 2 if reduction == "mean" else want).squeeze()
    got = objective(embeddings(a, k, k, second=PLACES.tolist(), banks={"text": bank()}), "speech", "text")
    torch.testing.assert_close(got.value, want, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(got.value, (a, objective.log_scale)), torch.autograd.grad(want, (a, s))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)
    entropy = torch.special.entr(T).sum(1)[torch.linspace(0, N - 1, 8).round().long()].mean()
    assert float(got.parts["entropy"]) == pytest.approx(float(entropy), rel=1e-6)
    own = T[torch.arange(N), PLACES][torch.linspace(0, N - 1, 8).round().long()].mean()
    assert float(got.parts["diagonal_mass"]) == pytest.approx(float(own), rel=1e-6)


def test_infonce_with_store_keys_equals_the_dense_formula_also_with_equal_items():
    objective = InfoNCE(temperature=0.1, keys="store").double()
    speech = [0, 0, *range(2, N)]  # one recording, two texts: they share the target's mass
    a, k = unit(N, D, 1, True), keys()[PLACES]
    E = one_hot(same_matrix(speech, PLACES.tolist()))
    T = torch.zeros(N, M, dtype=torch.float64)
    T[:, PLACES] = E
    want = (direction_loss(10 * a @ keys().T, T) + direction_loss(10 * k @ a.T, E)) / 2
    got = objective(embeddings(a, k, k, speech, PLACES.tolist(), {"text": bank()}), "speech", "text")
    torch.testing.assert_close(got.value, want, rtol=1e-7, atol=1e-7)  # log_scale starts as fp32
    torch.testing.assert_close(
        torch.autograd.grad(got.value, a)[0], torch.autograd.grad(want, a)[0], rtol=1e-6, atol=1e-8
    )
    one_way = direction_loss(10 * a.detach() @ keys().T, torch.nn.functional.one_hot(PLACES, M).double())
    assert float(got.parts["mutual_information"]) == pytest.approx(math.log(M) - float(one_way), rel=1e-6)


@pytest.mark.parametrize("kernel", [Affine(), Power()])
def test_a_store_that_is_the_batch_changes_nothing(kernel):
    a, k = unit(N, D, 1, True), unit(N, D, 2)
    whole = CWCL(kernel=kernel, keys="store", scope="store").double()
    banks = {"text": KeyBank(k.numpy(), np.arange(N))}
    objectives = (whole, CWCL(kernel=kernel).double())
    values = [o(embeddings(a, k, k, banks=banks), "speech", "text").value for o in objectives]
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(v, a)[0] for v in values), rtol=1e-10, atol=1e-12)


def test_targets_over_the_store_with_keys_of_the_batch_have_no_floor():
    objective = CWCL(scope="store").double()
    k = keys()[PLACES]
    parts = objective(
        embeddings(unit(N, D, 1), k, k, second=PLACES.tolist(), banks={"text": bank()}), "speech", "text"
    ).parts
    assert "kl" not in parts
    assert "entropy" in parts


def test_what_cannot_be():
    with pytest.raises(UserError, match="scope: store goes with anchor trainable"):
        CWCL(scope="store", anchor="both")
    with pytest.raises(UserError, match="keys: 'all' is not one of batch, store"):
        InfoNCE(keys="all")
    with pytest.raises(UserError, match="text has no store"):
        InfoNCE(keys="store")(embeddings(unit(3, D, 1), unit(3, D, 2), unit(3, D, 2)), "speech", "text")
    with pytest.raises(UserError, match="the store holds no item"):
        KeyBank(np.zeros((0, 3), np.float32), np.zeros(0, np.int64))
