"""InfoNCE and CWCL against their papers' equations, open_clip, and the identities they must satisfy."""

import math

import pytest
import torch
from dense_reference import dense_loss, embeddings, one_hot, same_matrix, target_matrix, unit
from kernel_cases import BOTH, CASES, SPEECH_TWICE, TEXT_TWICE, UNIQUE, D, G, N
from open_clip.loss import ClipLoss

from xmodal.errors import UserError
from xmodal.objectives import CWCL, InfoNCE
from xmodal.objectives.kernels import Affine, Exp, Perplexity, Power, Threshold, TopK


def close(got, want, rtol=1e-10, atol=1e-10):
    torch.testing.assert_close(got, want, rtol=rtol, atol=atol)


def run(objective, e):
    return objective(e, "speech", "text")


@pytest.mark.parametrize("train_both", [False, True])
@pytest.mark.parametrize("ids", [UNIQUE, SPEECH_TWICE, TEXT_TWICE, BOTH], ids=["unique", "speech", "text", "both"])
@pytest.mark.parametrize("anchor", ["trainable", "frozen", "both"])
@pytest.mark.parametrize(
    ("shared", "name"), [({}, n) for n in CASES] + [({"centre": True, "identity_mix": 0.3}, n) for n in CASES]
)
def test_cwcl_equals_the_dense_formula(name, shared, anchor, ids, train_both):
    kernel, (kind, value) = CASES[name]
    kernel = type(kernel)(**(vars(kernel) | shared))
    same = same_matrix(*ids)
    a, k, guide = unit(N, D, 1, True), unit(N, D, 2, train_both), unit(N, G, 3)
    T = target_matrix(kind, value, guide, same, shared.get("centre", False), shared.get("identity_mix", 0.0))
    E = one_hot(same)
    reduction = "sum" if anchor == "frozen" else "mean"
    objective = CWCL(kernel=kernel, anchor=anchor, temperature=0.1, reduction=reduction).double()
    s = objective.log_scale.detach().clone().requires_grad_()
    want = dense_loss(
        a, k, s.exp(), T if anchor != "frozen" else E, T if anchor != "trainable" else E, reduction
    ).squeeze()
    got = run(objective, embeddings(a, k, guide, *ids))
    close(got.value, want)
    close(got.parts["loss"], want.detach())
    leaves = (a, k) if train_both else (a,)
    close(torch.autograd.grad(got.value, (*leaves, objective.log_scale)), torch.autograd.grad(want, (*leaves, s)))


@pytest.mark.parametrize("ids", [UNIQUE, BOTH], ids=["unique", "both"])
def test_infonce_equals_the_dense_formula(ids):
    a, k, E = unit(N, D, 1, True), unit(N, D, 2, True), one_hot(same_matrix(*ids))
    objective = InfoNCE(temperature=0.05).double()
    s = objective.log_scale.detach().clone().requires_grad_()
    want = dense_loss(a, k, s.exp(), E, E, "mean").squeeze()
    got = run(objective, embeddings(a, k, unit(N, G, 3), *ids)).value
    close(got, want)
    close(torch.autograd.grad(got, (a, k, objective.log_scale)), torch.autograd.grad(want, (a, k, s)))


def test_cwcl_equals_the_papers_sum_over_pairs():
    """2309.14580: -1/N sum_i 1/sum_j w_ij sum_j w_ij log( exp(a_i.k_j/tau) / sum_l exp(a_i.k_l/tau) ), plus k -> a."""
    a, k, g, tau = unit(N, D, 1), unit(N, D, 2), unit(N, G, 3), 0.2
    weighted = plain = 0.0
    for i in range(N):
        w = [0.5 * float(g[i] @ g[j]) + 0.5 for j in range(N)]
        bottom = sum(math.exp(float(a[i] @ k[j]) / tau) for j in range(N))
        weighted -= sum(w[j] * math.log(math.exp(float(a[i] @ k[j]) / tau) / bottom) for j in range(N)) / sum(w) / N
        bottom = sum(math.exp(float(k[i] @ a[j]) / tau) for j in range(N))
        plain -= math.log(math.exp(float(k[i] @ a[i]) / tau) / bottom) / N
    got = run(CWCL(temperature=tau, reduction="sum").double(), embeddings(a, k, g)).value
    assert float(got.detach()) == pytest.approx(weighted + plain, rel=1e-7)  # log_scale starts as fp32


def test_infonce_equals_open_clip():
    a, k = unit(50, D, 1, True), unit(50, D, 2, True)
    objective = InfoNCE().double()
    s = objective.log_scale.detach().clone().requires_grad_()
    want = ClipLoss()(a, k, s.exp())
    got = run(objective, embeddings(a, k, unit(50, G, 3))).value
    close(got, want)
    close(torch.autograd.grad(got, (a, k, objective.log_scale)), torch.autograd.grad(want, (a, k, s)))


@pytest.mark.parametrize(
    "kernel", [Power(power=1e6), Exp(temperature=1e-9), TopK(k=1), Threshold(threshold=1.0), Affine(identity_mix=1.0)]
)
@pytest.mark.parametrize("anchor", ["trainable", "frozen", "both"])
@pytest.mark.parametrize("ids", [UNIQUE, BOTH], ids=["unique", "both"])
def test_limits_that_are_infonce(kernel, anchor, ids):
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    e = embeddings(a, k, unit(N, G, 3), *ids)
    got, want = CWCL(kernel=kernel, anchor=anchor).double(), InfoNCE().double()
    values = run(got, e).value, run(want, e).value
    close(*values)
    close(torch.autograd.grad(values[0], (a, k)), torch.autograd.grad(values[1], (a, k)))


OBJECTIVES = [InfoNCE(), *(CWCL(kernel=k, anchor="both") for k, _ in CASES.values()), CWCL(), CWCL(anchor="frozen")]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_identical_embeddings_give_log_n(objective):
    x = unit(1, D, 1).expand(N, D)
    e = embeddings(x, x, unit(N, G, 3))
    assert float(run(objective.double(), e).value.detach()) == pytest.approx(math.log(N), rel=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_order_of_pairs_and_rotation_change_nothing(objective):
    a, k, g = unit(N, D, 1), unit(N, D, 2), unit(N, G, 3)
    first, second = (torch.tensor(x) for x in BOTH)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    turn_g = torch.linalg.qr(torch.randn(G, G, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0]
    objective = objective.double()
    want = run(objective, embeddings(a, k, g, *BOTH)).value
    permuted = embeddings(a[order], k[order], g[order], first[order].tolist(), second[order].tolist())
    close(run(objective, permuted).value, want)
    close(run(objective, embeddings(a @ rotation, k @ rotation, g @ turn_g, *BOTH)).value, want)


@pytest.mark.parametrize("objective", [InfoNCE(), CWCL(), CWCL(kernel=Perplexity(), anchor="both")])
def test_gradcheck(objective):
    objective = objective.double()
    a, k, g = unit(5, 3, 1, True), unit(5, 3, 2, True), unit(5, G, 3)

    def loss(a, k, log_scale):
        return torch.func.functional_call(
            objective, {"log_scale": log_scale}, (embeddings(a, k, g, [0, 0, 1, 2, 3]), "speech", "text")
        ).value

    log_scale = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (a, k, log_scale))


@pytest.mark.parametrize("objective", [InfoNCE, CWCL])
@pytest.mark.parametrize("autocast", [False, True])
def test_bf16_stays_finite_at_scale_100(objective, autocast):
    a = unit(64, 32, 1).bfloat16().requires_grad_()
    k = (-unit(64, 32, 1)).bfloat16()  # every pair opposite: the worst start
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = run(objective(temperature=0.01), embeddings(a, k, unit(64, 8, 3).bfloat16()))
    loss.value.backward()
    assert loss.value.dtype == torch.float32
    assert bool(a.grad.isfinite().all())
    want = InfoNCE(temperature=0.01).double() if objective is InfoNCE else CWCL(temperature=0.01).double()
    exact = run(want, embeddings(a.detach().double(), k.double(), unit(64, 8, 3).bfloat16().double())).value
    assert float(loss.value.detach()) == pytest.approx(float(exact.detach()), rel=1e-5)


def test_logged_parts_are_their_definitions():
    a, k, g = unit(N, D, 1), unit(N, D, 2), unit(N, G, 3)
    T = target_matrix("affine", 0, g, same_matrix(*BOTH))
    objective = CWCL(temperature=0.5).double()
    s = objective.log_scale.detach().exp()
    got = run(objective, embeddings(a, k, g, *BOTH)).parts
    log_p = (s * a @ k.T).log_softmax(1)
    want = {
        "entropy": -(T * T.log()).sum(1).mean(),
        "kl": (T * (T.log() - log_p)).sum(1).mean(),
        "effective_positives": (1 / (T**2).sum(1)).mean(),
        "diagonal_mass": T.diagonal().mean(),
        "temperature": (1 / s).squeeze(),
        "mutual_information": math.log(N) + log_p.diagonal().mean(),
    }
    for name, value in want.items():
        close(got[name], value)
    assert set(got) == {*want, "loss"}
    assert not any(x.requires_grad for x in got.values())


def test_one_pair_and_no_pair():
    a = unit(1, D, 1, True)
    for objective in (InfoNCE().double(), CWCL(anchor="both").double()):
        loss = run(objective, embeddings(a, unit(1, D, 2), unit(1, G, 3)))
        assert float(loss.value.detach()) == pytest.approx(0, abs=1e-12)
        assert bool((torch.autograd.grad(loss.value, a)[0].abs() < 1e-12).all())
        empty = torch.zeros(0, D, dtype=torch.float64, requires_grad=True)
        nothing = run(objective, embeddings(empty, empty, torch.zeros(0, G, dtype=torch.float64)))
        assert float(nothing.value.detach()) == 0


def test_scale_is_clamped_and_its_gradient_survives():
    objective = InfoNCE(temperature=0.02, max_scale=60)
    with torch.no_grad():
        objective.log_scale.fill_(10.0)
    a = unit(8, D, 1).float()
    objective.after_step(embeddings(a, a, a))  # as after the update that took it there
    loss = run(objective, embeddings(a, unit(8, D, 2).float(), a))
    loss.value.backward()
    assert float(loss.parts["temperature"]) == pytest.approx(1 / 60)
    assert float(objective.log_scale.grad) > 0  # unrelated pairs: a lower scale is better, and reachable
    assert objective.log_scale.shape == (1,)


def test_fixed_temperature_has_no_gradient_but_is_saved():
    objective = CWCL(learnable=False)
    a = unit(8, D, 1, True)
    run(objective, embeddings(a, unit(8, D, 2), unit(8, G, 3))).value.backward()
    assert objective.log_scale.grad is None
    assert "log_scale" in objective.state_dict()


@pytest.mark.parametrize(
    "arguments",
    [{"temperature": 0.001}, {"temperature": 0.0}, {"reduction": "max"}, {"anchor": "text"}],
)
def test_bad_arguments_are_named(arguments):
    with pytest.raises(UserError, match=next(iter(arguments))):
        CWCL(**arguments)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("side", ["speech", "text"])
@pytest.mark.parametrize("objective", [CWCL(temperature=0.01), InfoNCE(temperature=0.07)])
def test_a_number_that_is_not_finite_reaches_the_loss(objective, side, value):
    """With and without a shift of the logits (scale 100 and 14)."""
    z = {"speech": unit(6, 4, 1).float(), "text": unit(6, 4, 2).float()}
    z[side][2, 1] = value
    loss = objective(embeddings(z["speech"], z["text"], z["text"]), "speech", "text")
    assert not torch.isfinite(loss.value)
    assert not torch.isfinite(loss.parts["loss"])
