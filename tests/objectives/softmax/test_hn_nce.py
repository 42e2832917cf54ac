"""HN-NCE against a loop from its equation, with its weights detached and not, and InfoNCE."""

import math

import pytest
import torch
from dense_reference import unit

from xmodal.batch import Clock, Embeddings
from xmodal.errors import UserError
from xmodal.objectives import HNNCE, InfoNCE
from xmodal.objectives.engine import tiles

N, D = 9, 6
IDS = torch.tensor([0, 1, 2, 0, 4, 5, 1, 1, 8])


def loop(one, other, s, alpha, beta, detach, ids, own=None):
    """2301.02280: -s_ii + log(alpha e^s_ii + sum_j w_ij e^s_ij), over the anchors `one`; `own` are negatives too."""
    total = one.sum() * 0
    for i in range(len(one)):
        keys = [other[j] for j in range(len(one)) if ids[i] != ids[j]]
        keys += [own[j] for j in range(len(one)) if own is not None and ids[i] != ids[j]]
        logits = torch.stack([s * one[i] @ key for key in keys])
        w = len(keys) * (beta * logits).exp() / (beta * logits).exp().sum()
        w = w.detach() if detach else w
        pair = s * one[i] @ other[i]
        total = total - pair + torch.log(alpha * pair.exp() + (w * logits.exp()).sum())
    return total / len(one)


def made(**settings):
    objective = HNNCE(**settings).double()
    objective.log_scale.data.fill_(1.7)
    return objective


@pytest.mark.parametrize("block", [2**22, 40])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize(("alpha", "beta"), [(1, 0.5), (0.3, 1.5), (0, 0.5), (1, 0)])
@pytest.mark.parametrize("sides", [1, 2])
def test_equals_the_papers_loop(sides, alpha, beta, detach, block, monkeypatch):
    monkeypatch.setattr(tiles, "BLOCK", block)
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    objective = made(alpha=alpha, beta=beta, detach_weights=detach)
    names = ("x", "y")[:sides]
    given = {"x": a, "y": k} if sides == 2 else {"x": [a, k]}
    got = objective(Embeddings.of(**given, item_ids={"x": IDS}), *names)
    log_scale = torch.tensor([1.7], dtype=torch.float64, requires_grad=True)
    s, views = log_scale.exp().squeeze(), (a, k) if sides == 1 else (None, None)
    want = (loop(a, k, s, alpha, beta, detach, IDS, views[0]) + loop(k, a, s, alpha, beta, detach, IDS, views[1])) / 2
    torch.testing.assert_close(got.value, want, rtol=1e-10, atol=1e-10)
    gradients = (
        torch.autograd.grad(got.value, (a, k, objective.log_scale)),
        torch.autograd.grad(want, (a, k, log_scale)),
    )
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_with_alpha_one_and_beta_zero_it_is_infonce():
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    e = Embeddings.of(speech=a, text=k)
    got, want = HNNCE(beta=0).double()(e, "speech", "text").value, InfoNCE().double()(e, "speech", "text").value
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.autograd.grad(got, (a, k)), torch.autograd.grad(want, (a, k)))


def test_identical_embeddings_give_log_n_whatever_beta():
    z = unit(1, D, 1).expand(N, D)
    value = HNNCE(beta=0.7).double()(Embeddings.of(speech=z, text=z), "speech", "text").value
    assert float(value.detach()) == pytest.approx(math.log(N), rel=1e-9)


def test_alpha_and_beta_may_follow_schedules():
    a, k = unit(N, D, 1), unit(N, D, 2)
    moving = made(alpha={"schedule": "linear", "from": 1, "to": 0}, beta={"schedule": "linear", "from": 0, "to": 1})
    got = moving(Embeddings.of(x=a, y=k, clock=Clock(1, 5)), "x", "y").value
    torch.testing.assert_close(got, made(alpha=0.75, beta=0.25)(Embeddings.of(x=a, y=k), "x", "y").value)


def test_order_and_rotation_change_nothing_gradchecks_and_bf16():
    objective, a, k = made(beta=0.8, detach_weights=False), unit(N, D, 1), unit(N, D, 2)
    order, turn = torch.randperm(N, generator=torch.Generator().manual_seed(0)), torch.linalg.qr(unit(D, D, 4))[0]
    want = objective(Embeddings.of(x=a, y=k, item_ids={"x": IDS}), "x", "y").value
    moved = Embeddings.of(x=a[order] @ turn, y=k[order] @ turn, item_ids={"x": IDS[order], "y": torch.arange(N)[order]})
    torch.testing.assert_close(objective(moved, "x", "y").value, want)

    def value(a, k):
        return objective(Embeddings.of(x=a, y=k, item_ids={"x": IDS[:5]}), "x", "y").value

    pair = unit(5, 3, 1, True), unit(5, 3, 2, True)
    assert torch.autograd.gradcheck(value, pair)
    assert torch.autograd.gradgradcheck(value, pair)
    x = unit(32, 16, 1).bfloat16().requires_grad_()
    loss = HNNCE(temperature=0.01)(Embeddings.of(x=x, y=-x.detach()), "x", "y").value
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()


def test_where_all_items_are_equal_there_is_no_loss():
    a = unit(N, D, 1, True)
    loss = made()(Embeddings.of(x=a, y=unit(N, D, 2), item_ids={"x": torch.zeros(N, dtype=torch.int64)}), "x", "y")
    loss.value.backward()
    assert (float(loss.value.detach()), float(loss.parts["anchors"]), float(a.grad.abs().sum())) == (0, 0, 0)


def test_a_setting_that_cannot_be_is_one_line():
    with pytest.raises(UserError, match=r"HNNCE: beta: -1 must be at least 0") as error:
        HNNCE(beta=-1)
    assert "\n" not in str(error.value)
