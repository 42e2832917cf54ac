"""SimCon, X-CLR and label smoothing against dense formulas, torch's cross-entropy, and the limits that are InfoNCE."""

import math

import pytest
import torch
from dense_reference import dense_loss, embeddings, one_hot, same_matrix, target_matrix, unit
from kernel_cases import BOTH, UNIQUE, D, G, N

from xmodal.batch import Clock
from xmodal.errors import UserError
from xmodal.objectives import CWCL, XCLR, InfoNCE, LabelSmoothing, SimCon
from xmodal.objectives.engine import tiles
from xmodal.objectives.engine.second_order import twice_differentiable
from xmodal.objectives.kernels import Exp, Threshold
from xmodal.objectives.softmax.label_smoothing import Smoothed
from xmodal.same_items import SameItems


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def run(objective, e):
    return objective.double()(e, "speech", "text")


def smoothed(epsilon, same):
    """1 - e shared by equal items, e by all others, as a loop."""
    rows = []
    for row in same:
        rest = len(row) - sum(row)
        e = epsilon if rest else 0.0
        rows.append([(1 - e) / sum(row) if equal else e / rest for equal in row])
    return torch.tensor(rows, dtype=torch.float64)


CASES = {
    "simcon": (SimCon(threshold=0.3), lambda g, same: target_matrix("threshold", 0.3, g, same)),
    "x_clr": (XCLR(target_temperature=0.2), lambda g, same: target_matrix("softmax", 0.2, g, same)),
    "label_smoothing": (LabelSmoothing(smoothing=0.2), lambda g, same: smoothed(0.2, same)),
}


@pytest.mark.parametrize("block", [2**22, 30])  # 30: two rows at a time
@pytest.mark.parametrize("ids", [UNIQUE, BOTH, ([0] * N, UNIQUE[0])], ids=["unique", "some", "all equal"])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_the_dense_formulas_in_both_directions(name, ids, block, monkeypatch):
    monkeypatch.setattr(tiles, "BLOCK", block)
    made, targets = CASES[name]
    a, k, guide = unit(N, D, 1, True), unit(N, D, 2, True), unit(N, G, 3)
    T = targets(guide, same_matrix(*ids))
    s = made.double().log_scale.detach().clone().requires_grad_()
    want = dense_loss(a, k, s.exp() if made.spec.learnable else torch.tensor([10.0]), T, T, "mean").squeeze()
    got = run(made, embeddings(a, k, guide, *ids)).value
    if made.spec.learnable:
        close(
            torch.autograd.grad(got, made.log_scale, retain_graph=True), torch.autograd.grad(want, s, retain_graph=True)
        )
    close(got, want)
    gradients = torch.autograd.grad(got, (a, k), retain_graph=True), torch.autograd.grad(want, (a, k))
    close(*gradients)
    with twice_differentiable():
        close(run(made, embeddings(a, k, guide, *ids)).value, want)


def test_label_smoothing_is_torchs_with_its_share_for_the_pair_taken_off():
    """torch puts e' / N on every class, the true one too: e = e' (N - 1) / N."""
    a, k, e = unit(N, D, 1, True), unit(N, D, 2, True), 0.15
    logits, truth = a @ k.T / 0.07, torch.arange(N)
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=e * N / (N - 1))
    want = (theirs(logits, truth) + theirs(logits.T, truth)) / 2
    made = LabelSmoothing(smoothing=e, learnable=False)
    got = run(made, embeddings(a, k, unit(N, G, 3))).value
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)  # log_scale starts as fp32
    for one, other in zip(torch.autograd.grad(got, (a, k)), torch.autograd.grad(want, (a, k)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_smoothed_rows_and_products_are_the_loop():
    same, (x, y) = SameItems(*map(torch.tensor, BOTH)), (unit(N, 4, 7), unit(N, 6, 8))
    T, kernel, guide = smoothed(0.3, same_matrix(*BOTH)), Smoothed(smoothing=0.3), unit(N, G, 3)
    close(kernel.rows(guide, same, torch.tensor([N - 1, 0, 5])), T[[N - 1, 0, 5]])
    (right,), (left,) = kernel.products(guide, same, slice(2, 9), (x,), (y,))
    close(right, (T @ x)[2:9])
    close(left, (T.T @ y)[2:9])


@pytest.mark.parametrize("ids", [UNIQUE, BOTH], ids=["unique", "some"])
@pytest.mark.parametrize(
    "made", [SimCon(threshold=1.5), XCLR(target_temperature=1e-9), LabelSmoothing(smoothing=0)], ids=list(CASES)
)
def test_limits_that_are_infonce(made, ids):
    a, k, guide = unit(N, D, 1, True), unit(N, D, 2, True), unit(N, G, 3)
    if isinstance(made, SimCon):
        guide = guide[:1].expand(N, G)  # above 1, not even a guide alike to the last bit is a positive
    e = embeddings(a, k, guide, *ids)
    got = run(made, e).value
    want = run(InfoNCE(temperature=made.spec.temperature, learnable=made.spec.learnable), e).value
    close(got, want)
    close(torch.autograd.grad(got, (a, k)), torch.autograd.grad(want, (a, k)))


def test_targets_may_follow_a_schedule():
    made = XCLR(target_temperature={"schedule": "linear", "from": 0.4, "to": 0.2})
    assert made.kernel(Clock(0, 3)) == Exp(temperature=0.4)
    made = SimCon(threshold={"schedule": "linear", "from": 1.1, "to": 0.5})
    assert made.kernel(Clock(2, 3)) == Threshold(threshold=0.5)
    made = LabelSmoothing(smoothing={"schedule": "linear", "from": 0, "to": 0.5})
    assert made.kernel(Clock(1, 3)) == Smoothed(smoothing=0.25)


@pytest.mark.parametrize("name", CASES)
def test_identical_embeddings_give_log_n_and_order_and_rotation_change_nothing(name):
    made = CASES[name][0]
    x = unit(1, D, 1).expand(N, D)
    assert float(run(made, embeddings(x, x, unit(N, G, 3))).value.detach()) == pytest.approx(math.log(N), rel=1e-9)
    a, k, g, (first, second) = unit(N, D, 1), unit(N, D, 2), unit(N, G, 3), map(torch.tensor, BOTH)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(unit(D, D, 4))[0]
    want = run(made, embeddings(a, k, g, *BOTH)).value
    moved = embeddings(a[order] @ turn, k[order] @ turn, g[order], first[order].tolist(), second[order].tolist())
    close(run(made, moved).value, want)


@pytest.mark.parametrize("kind", [SimCon, XCLR, LabelSmoothing])
def test_gradcheck_and_bf16_at_scale_100(kind):
    made = kind(temperature=0.5).double()
    a, k, g = unit(5, 3, 1, True), unit(5, 3, 2, True), unit(5, G, 3)
    assert torch.autograd.gradcheck(
        lambda a, k: made(embeddings(a, k, g, [0, 0, 1, 2, 3]), "speech", "text").value, (a, k)
    )
    x = unit(32, 16, 1).bfloat16().requires_grad_()
    value = kind(temperature=0.01)(embeddings(x, -x.detach(), unit(32, G, 3).bfloat16()), "speech", "text").value
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SimCon(threshold=2.5), r"SimCon: threshold: 2\.5 must be at most 2"),
        (lambda: XCLR(target_temperature=0), r"XCLR: target_temperature: 0 must be greater than 0"),
        (lambda: LabelSmoothing(smoothing=1.2), r"LabelSmoothing: smoothing: 1\.2 must be at most 1"),
        (
            lambda: CWCL(kernel=Threshold(threshold=1), scope="store"),
            r"CWCL: scope: store goes with a threshold below 1, found 1, .* use 0\.99",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_the_threshold_kernel_keeps_equal_items_whatever_their_guides():
    same = SameItems(torch.tensor([0, 0, 2]), torch.arange(3))
    rows = Threshold(threshold=1.5).rows(torch.ones(3, 1, dtype=torch.float64), same, torch.arange(3))
    close(rows, one_hot(same_matrix([0, 0, 2], [0, 1, 2])))
