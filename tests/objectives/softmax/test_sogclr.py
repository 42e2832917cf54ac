"""SogCLR against a loop from FastCLIP's equations over several steps, the batch's own gradient, and its table."""

import math

import pytest
import torch
from dense_reference import unit

from xmodal.batch import Clock, Embeddings
from xmodal.errors import UserError
from xmodal.objectives import DCL, SogCLR
from xmodal.objectives.engine.id_table import IdTable

N, D, EPS = 6, 5, 1e-14


def loop_step(a, k, ids, tau, kept, gamma, rho, reduction=0.5, equal=None):
    """One step of 2407.01445: the loss, with every u detached; `kept` is {(direction, id): u} and is changed."""
    n, total = len(a), a.sum() * 0
    equal = equal or [{i} for i in range(n)]
    for direction, (one, other) in enumerate(((a, k), (k, a))):
        for i in range(n):
            others = [j for j in range(n) if j not in equal[i]]
            if not others:
                continue
            h = sum(torch.exp((one[i] @ other[j] - one[i] @ other[i]) / tau) for j in others) / len(others)
            key = (direction, int(ids[i]))
            u = h.detach() if key not in kept else (1 - gamma) * kept[key] + gamma * h.detach()
            kept[key] = u
            total = total + reduction / n * tau.detach() * h / (u + EPS)
            if rho is not None:
                total = total + reduction / n * tau * (rho + torch.log(u + EPS))
    return total


BATCHES = [[0, 1, 2, 3, 4, 5], [4, 9, 1, 7, 2**62, 0], [1, -5, 9, 3, 4, 2], [0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("learnable", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_equals_the_equations_over_several_steps(learnable, reduction):
    gamma = {"schedule": "linear", "from": 1.0, "to": 0.25}
    objective = SogCLR(gamma=gamma, rho=3.0, learnable=learnable, temperature=0.3, reduction=reduction).double()
    kept: dict = {}
    for step, names in enumerate(BATCHES):
        a, k = unit(N, D, 10 + step, True), unit(N, D, 20 + step, True)
        ids, items = torch.tensor(names), torch.tensor([0, 1, 2, 0, 4, 5]) if step == 1 else torch.arange(N)
        e = Embeddings.of(x=a, y=k, ids=ids, item_ids={"x": items, "y": ids}, clock=Clock(step, 4))
        got = objective(e, "x", "y")
        log_scale = objective.log_scale.detach().clone().requires_grad_()
        tau = (1 / log_scale.exp()).squeeze() if learnable else torch.tensor(0.3, dtype=torch.float64)
        equal = [{j for j in range(N) if items[i] == items[j]} for i in range(N)]
        factor = 0.5 if reduction == "mean" else 1.0
        want = loop_step(a, k, ids, tau, kept, 1 - 0.25 * step, 3.0 if learnable else None, factor, equal)
        tolerance = {"rtol": 1e-9, "atol": 1e-9} if learnable else {"rtol": 1e-6, "atol": 1e-6}
        torch.testing.assert_close(got.value, want, **tolerance)
        torch.testing.assert_close(got.parts["loss"], want.detach(), **tolerance)
        assert float(got.parts["pairs"]) == len({name for batch in BATCHES[:step] for name in batch})
        u = [kept[direction, int(i)] for direction in (0, 1) for i in ids]
        mean = sum(math.log(EPS + float(x)) for x in u) / N * factor
        expected = float(tau.detach()) * (mean + (3.0 * 2 * factor if learnable else 0))
        assert float(got.parts["objective"]) == pytest.approx(expected, rel=1e-6)
        leaves = ((a, k, objective.log_scale), (a, k, log_scale)) if learnable else ((a, k), (a, k))
        gradients = torch.autograd.grad(got.value, leaves[0]), torch.autograd.grad(want, leaves[1])
        torch.testing.assert_close(*gradients, **tolerance)
        objective.after_step(e)


def test_the_first_gradient_is_that_of_the_batchs_own_loss():
    """At gamma 1, u is h: L's gradient is that of tau mean log(h), which is tau times DCL's."""
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    e = Embeddings.of(x=a, y=k)
    got = SogCLR(temperature=0.2, learnable=False).double()(e, "x", "y").value
    want = 0.2 * DCL(temperature=0.2).double()(e, "x", "y").value
    torch.testing.assert_close(torch.autograd.grad(got, (a, k)), torch.autograd.grad(want, (a, k)))
    assert float(got.detach()) == pytest.approx(0.2, rel=1e-6)


def test_identical_embeddings_have_a_u_of_one():
    z = unit(1, D, 1).expand(N, D)
    got = SogCLR(temperature=0.5).double()(Embeddings.of(x=z, y=z), "x", "y")
    assert float(got.parts["objective"]) == pytest.approx(0.5 * 6.5, rel=1e-6)  # log u = 0: rho alone is left
    assert float(got.value.detach()) == pytest.approx(0.5 * (1 + 6.5), rel=1e-6)


def test_a_loss_changes_no_state_and_a_step_keeps_that_of_its_own_embeddings():
    objective = SogCLR(gamma=0.5).double()
    first, other = (Embeddings.of(x=unit(N, D, s), y=unit(N, D, s + 1)) for s in (1, 5))
    once = objective(first, "x", "y").value
    objective(other, "x", "y")  # such as a loss that is only looked at
    torch.testing.assert_close(objective(first, "x", "y").value, once)
    objective.after_step(first)
    assert len(objective.tables["x-y"]) == N
    alone = SogCLR(gamma=0.5).double()
    alone(first, "x", "y")
    alone.after_step(first)
    torch.testing.assert_close(objective.tables["x-y"].values, alone.tables["x-y"].values)


def test_order_and_rotation_change_nothing_and_scale_100_stays_finite_in_bf16():
    a, k, order = unit(N, D, 1), unit(N, D, 2), torch.tensor([3, 0, 4, 1, 5, 2])
    turn, ids = torch.linalg.qr(unit(D, D, 4))[0], torch.arange(N)
    values = []
    for e in (Embeddings.of(x=a, y=k), Embeddings.of(x=a[order] @ turn, y=k[order] @ turn, ids=ids[order])):
        objective = SogCLR(gamma=0.5).double()
        for _ in range(2):
            value = objective(e, "x", "y").value
            objective.after_step(e)
        values.append(value.detach())
    torch.testing.assert_close(*values)
    x = unit(N, D, 1).bfloat16().requires_grad_()
    objective, e = SogCLR(temperature=0.01), Embeddings.of(x=x, y=-x.detach())  # e^200 is no number in fp32
    for _ in range(2):
        value = objective(e, "x", "y").value
        objective.after_step(e)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()


def test_a_table_is_a_dictionary_and_takes_the_size_of_what_was_saved():
    table, held = IdTable(2).double(), {}
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        ids = torch.randint(-(2**62), 2**62, (5,), generator=generator)
        ids[:2] = torch.randint(0, 4, (2,), generator=generator)  # some come again, some twice in one batch
        values = torch.randn(5, 2, dtype=torch.float64, generator=generator)
        table.put(ids, values)
        held |= {int(i): row for i, row in zip(ids, values, strict=True)}
        asked = torch.tensor([*held, 77])
        got, known = table.get(asked)
        torch.testing.assert_close(got, torch.stack([*held.values(), torch.zeros(2, dtype=torch.float64)]))
        assert known.tolist() == [True] * len(held) + [False]
    assert len(table) == len(held)
    again = IdTable(2).double()
    again.load_state_dict(table.state_dict())
    torch.testing.assert_close(again.get(asked), table.get(asked))


def test_a_setting_that_cannot_be_is_one_line():
    with pytest.raises(UserError, match=r"SogCLR: gamma: to: 0 must be greater than 0, as every value") as error:
        SogCLR(gamma={"schedule": "cosine", "from": 1, "to": 0})
    assert "\n" not in str(error.value)
