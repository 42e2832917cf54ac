"""SigLIP against its paper's sum over pairs, open_clip, and finite differences."""

import math

import pytest
import torch
from dense_reference import embeddings, same_matrix, unit, weight_row
from kernel_cases import BOTH, CASES, SPEECH_TWICE, UNIQUE
from open_clip.loss import SigLipLoss

from xmodal.objectives import SigLIP
from xmodal.objectives.engine.pairwise_sigmoid import softplus_sum
from xmodal.objectives.kernels import ONE_HOT

N, D, G = 12, 6, 5


def dense(a, k, s, b, w):
    total = a.new_zeros(())
    for i in range(len(a)):
        for j in range(len(k)):
            logit = s * (a[i] @ k[j]) + b
            sigmoid = torch.nn.functional.logsigmoid
            total = total - w[i][j] * sigmoid(logit) - (1 - w[i][j]) * sigmoid(-logit)
    return total.squeeze() / len(a)


def made(**arguments):
    objective = SigLIP(**arguments).double()
    leaves = [objective.log_scale.detach().clone().requires_grad_(), objective.bias.detach().clone().requires_grad_()]
    return objective, *leaves


@pytest.mark.parametrize("train_both", [False, True])
@pytest.mark.parametrize("ids", [UNIQUE, SPEECH_TWICE, BOTH], ids=["unique", "speech", "both"])
@pytest.mark.parametrize("name", ["one_hot", *CASES])
@pytest.mark.parametrize("mix", [0.0, 0.3])
def test_equals_the_sum_over_pairs(name, ids, train_both, mix):
    same, guide = same_matrix(*ids), unit(N, G, 3)
    kernel, (kind, value) = CASES.get(name, (ONE_HOT, ("one_hot", 0.0)))
    if mix and name != "one_hot":
        kernel = type(kernel)(**(vars(kernel) | {"identity_mix": mix}))
    w = []
    for i in range(N):
        c = [1.0 if same[i][j] else float(guide[i] @ guide[j]) for j in range(N)]
        row = [float(x) for x in same[i]] if name == "one_hot" else weight_row(kind, value, c)
        largest = max(row)  # kernels are scaled to weight 1 at equal items
        hot = [float(x) for x in same[i]]
        w.append([(1 - mix) * x / largest + mix * h for x, h in zip(row, hot, strict=True)])
    objective, s, b = made(kernel=kernel, temperature=0.2, bias=-3.0)
    a, k = unit(N, D, 1, True), unit(N, D, 2, train_both)
    want = dense(a, k, s.exp(), b, w)
    got = objective(embeddings(a, k, guide, *ids), "speech", "text")
    torch.testing.assert_close(got.value, want, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got.parts["loss"], want.detach(), rtol=1e-9, atol=1e-9)
    leaves = (a, k) if train_both else (a,)
    mine = torch.autograd.grad(got.value, (*leaves, objective.log_scale, objective.bias))
    torch.testing.assert_close(mine, torch.autograd.grad(want, (*leaves, s, b)), rtol=1e-9, atol=1e-9)


def test_equals_open_clip():
    a, k = unit(50, D, 1, True), unit(50, D, 2, True)
    objective, s, b = made()
    want = SigLipLoss()(a, k, s.exp(), b)
    got = objective(embeddings(a, k, unit(50, G, 3)), "speech", "text").value
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    mine = torch.autograd.grad(got, (a, k, objective.log_scale, objective.bias))
    torch.testing.assert_close(mine, torch.autograd.grad(want, (a, k, s, b)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("tile", [(1, 1), (4, 3), (7, 20), (512, 2048)])
@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (100.0, -10.0), (100.0, 30.0), (900.0, 0.0)])
def test_softplus_sum_equals_dense_for_any_tile(tile, scale, bias):
    a, k = unit(9, D, 1, True), unit(11, D, 2, True)
    s, b = (torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in (scale, bias))
    want = torch.nn.functional.softplus(s * a @ k.T + b).sum()
    got = softplus_sum(a, k, s, b, tile=tile)
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-12)  # torch's softplus is linear from 20 on
    torch.testing.assert_close(
        torch.autograd.grad(3 * got, (a, k, s, b)), torch.autograd.grad(3 * want, (a, k, s, b)), rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize(
    "wanted", [(True, False, False, False), (False, True, False, False), (False, False, True, True)]
)
def test_each_gradient_alone(wanted):
    inputs = [unit(6, 4, 1), unit(9, 4, 2), *(torch.tensor([x], dtype=torch.float64) for x in (3.0, -1.0))]
    for x, want in zip(inputs, wanted, strict=True):
        x.requires_grad_(want)
    assert torch.autograd.gradcheck(lambda *x: softplus_sum(*x, tile=(4, 4)), inputs)


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 0), (1, 1)])
def test_few_rows(n, m):
    a, k = torch.ones(n, 3, requires_grad=True), torch.ones(m, 3, requires_grad=True)
    s, b = torch.tensor([1.0], requires_grad=True), torch.tensor([0.0], requires_grad=True)
    total = softplus_sum(a, k, s, b)
    assert float(total.detach()) == pytest.approx(n * m * math.log1p(math.exp(3)))
    gradients = torch.autograd.grad(total, (a, k, s, b))
    assert [tuple(g.shape) for g in gradients] == [(n, 3), (m, 3), (1,), (1,)]


def test_bf16_embeddings_are_summed_in_fp32():
    a, k = unit(64, D, 1).bfloat16().requires_grad_(), unit(64, D, 2).bfloat16()
    total = softplus_sum(a, k, torch.tensor([100.0]), torch.tensor([-10.0]))
    want = torch.nn.functional.softplus(100 * a.detach().double() @ k.double().T - 10).sum()
    assert total.dtype == torch.float32
    assert float(total.detach()) == pytest.approx(float(want), rel=1e-5)
    assert torch.autograd.grad(total, a)[0].dtype == torch.bfloat16
