"""Distillation against open_clip's loss, a loop, and the limits in which it is InfoNCE."""

import math

import pytest
import torch
from dense_reference import one_hot, same_matrix, unit
from open_clip.loss import DistillClipLoss

from xmodal.batch import Embeddings
from xmodal.errors import UserError
from xmodal.objectives import Distillation, InfoNCE
from xmodal.objectives.engine import tiles

N, D, T = 7, 5, 3
SPEECH, TEXT = [0, 1, 2, 0, 4, 5, 6], [0, 1, 1, 3, 4, 5, 0]


def made(scale=10.0, **settings):
    objective = Distillation(temperature=1 / scale, **settings).double()
    objective.log_scale.data.fill_(math.log(scale))
    return objective


def embeddings(a, k, u, v, equal=False):
    ids = {"speech": torch.tensor(SPEECH), "text": torch.tensor(TEXT)} if equal else None
    return Embeddings.of(speech=a, text=k, teacher={"speech": u, "text": v}, item_ids=ids)


def four(n=N):
    return unit(n, D, 1, True), unit(n, D, 2, True), unit(n, T, 3), unit(n, T, 4)


def cross_entropy(logits, targets):
    """The mean over rows, item by item."""
    n = len(logits)
    total = 0.0
    for i in range(n):
        whole = sum(logits[i][j].exp() for j in range(n)).log()
        total = total - sum(targets[i][j] * (logits[i][j] - whole) for j in range(n))
    return total / n


def loop(a, k, u, v, scale, temperature, mix=0.0, same=None):
    """Both directions; the teacher's targets, and a share of one-hot ones."""
    E = torch.eye(len(a), dtype=torch.float64) if same is None else one_hot(same)
    found = []
    for x, y, p, q in ((a, k, u, v), (k, a, v, u)):
        weights = [[math.exp(float(p[i] @ q[j]) / temperature) for j in range(len(a))] for i in range(len(a))]
        soft = torch.tensor([[w / sum(row) for w in row] for row in weights], dtype=torch.float64)
        found.append(cross_entropy(scale * x @ y.T, (1 - mix) * soft + mix * E))
    return sum(found) / 2


@pytest.mark.parametrize("mix", [0.0, 0.3])
def test_equals_the_loop_in_value_and_gradient_with_equal_items(mix):
    a, k, u, v = four()
    objective = made(identity_mix=mix, teacher_temperature=0.2)
    got = objective(embeddings(a, k, u, v, equal=True), "speech", "text")
    scale = objective.log_scale.exp()
    want = loop(a, k, u, v, scale, 0.2, mix, same_matrix(SPEECH, TEXT))
    torch.testing.assert_close(got.value, want.reshape(()), rtol=1e-11, atol=1e-11)
    leaves = (a, k, objective.log_scale)
    for one, other in zip(torch.autograd.grad(got.value, leaves), torch.autograd.grad(want, leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_equals_open_clip_alone_and_added_to_its_contrastive_loss():
    a, k, u, v = four()
    scale = torch.tensor(10.0, dtype=torch.float64)
    contrastive, distilled = DistillClipLoss()(a, k, scale, u, v, torch.tensor(5.0, dtype=torch.float64))
    alone = made(teacher_temperature=0.2)(embeddings(a, k, u, v), "speech", "text").value
    mixed = made(teacher_temperature=0.2, identity_mix=0.5)(embeddings(a, k, u, v), "speech", "text").value
    for got, want in ((alone, distilled), (2 * mixed, contrastive + distilled)):  # a weight of 2
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
        gradients = [torch.autograd.grad(x, (a, k), retain_graph=True) for x in (got, want)]
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)


def test_a_sharp_teacher_that_is_right_and_a_full_mix_are_infonce():
    a, k, u, _ = four()
    infonce = InfoNCE(temperature=0.1).double()
    infonce.log_scale.data.fill_(math.log(10))
    for equal, objective, v in (
        (False, made(teacher_temperature=1e-3), u),
        (True, made(identity_mix=1), unit(N, T, 9)),
    ):
        e = embeddings(a, k, u, v, equal)
        got, want = objective(e, "speech", "text"), infonce(e, "speech", "text")
        torch.testing.assert_close(got.value, want.value, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(got.parts["mutual_information"], want.parts["mutual_information"])


def test_a_student_like_its_teacher_has_no_distance_left():
    a, k, _, _ = four()
    got = made(teacher_temperature=0.1)(embeddings(a, k, a.detach(), k.detach()), "speech", "text")
    assert float(got.parts["kl"]) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(got.parts["loss"], got.parts["entropy"])
    assert float(torch.autograd.grad(got.value, a)[0].abs().max()) < 1e-12
    z = unit(1, D, 1).expand(N, D)
    for reduction, directions in (("mean", 1), ("sum", 2)):
        value = made(reduction=reduction)(embeddings(z, z, *four()[2:]), "speech", "text").value
        assert float(value.detach()) == pytest.approx(directions * math.log(N))


def test_blocks_permutations_and_rotations_change_nothing(monkeypatch):
    a, k, u, v = four()
    objective = made(identity_mix=0.2, teacher_temperature=0.3)
    whole = objective(embeddings(a, k, u, v), "speech", "text").value
    gradients = torch.autograd.grad(whole, (a, k), retain_graph=True)
    order = torch.tensor([3, 0, 4, 1, 6, 2, 5])
    rotations = [torch.linalg.qr(unit(d, d, 8))[0] for d in (D, T)]
    turned = (a @ rotations[0], k @ rotations[0], u @ rotations[1], v @ rotations[1])
    for changed in ([x[order] for x in (a, k, u, v)], turned):
        torch.testing.assert_close(objective(embeddings(*changed), "speech", "text").value, whole)
    monkeypatch.setattr(tiles, "BLOCK", 3 * N)
    parts = objective(embeddings(a, k, u, v), "speech", "text").value
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, (a, k)), gradients)


def test_gradcheck_twice_and_finite_in_bf16_at_scale_100():
    a, k, u, v = four(4)
    objective = made(teacher_temperature=0.3)

    def value(x, y):
        return objective(embeddings(x, y, u, v), "speech", "text").value

    assert torch.autograd.gradcheck(value, (a, k))
    assert torch.autograd.gradgradcheck(value, (a, k))
    halves = [x.detach().bfloat16() for x in (a, k, u, v)]
    assert bool(torch.isfinite(Distillation(temperature=0.01)(embeddings(*halves), "speech", "text").value))


def test_mistakes_are_one_line():
    a, k, u, _ = four()
    with pytest.raises(UserError, match=r"teachers\.speech: embeddings of 3 numbers cannot be compared with the 5 of"):
        made()(embeddings(a, k, u, k.detach()), "speech", "text")
    with pytest.raises(UserError, match="have no teacher of 'speech'"):
        made()(Embeddings.of(speech=a, text=k), "speech", "text")
    with pytest.raises(UserError, match="teacher_temperature: 0 must be greater than 0"):
        Distillation(teacher_temperature=0)
    assert [need[:2] for need in Distillation.Spec().needs("speech", "text")] == [
        ("teacher", "speech"),
        ("teacher", "text"),
    ]
