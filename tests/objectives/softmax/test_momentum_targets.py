"""Momentum targets against a loop from ALBEF's equations, the queue at work, and the limit that is InfoNCE."""

import math

import pytest
import torch
from dense_reference import unit

from xmodal.batch import Clock, Embeddings
from xmodal.errors import UserError
from xmodal.objectives import InfoNCE, MomentumTargets
from xmodal.objectives.engine import tiles

N, D, K = 6, 5, 4
SPEECH, TEXT = [0, 1, 2, 0, 4, 5], [0, 1, 1, 3, 4, 5]
HELD = [[10, 11], [1, 12], [13, 4], [0, 3]]  # ids of the queue's pairs: speech, text
BOTH = ("speech", "text")
START = Clock()


def made(held=True, scale=8.0, **settings):
    objective = MomentumTargets(temperature=1 / scale, **{"queue": 2 * K, **settings}).double()
    objective.log_scale.data.fill_(math.log(scale))
    objective.prepare([BOTH], dict.fromkeys(BOTH, D))
    objective.double()
    if held:
        objective.queues["speech-text"].push(torch.cat(queued(), dim=1), torch.tensor(HELD))
    return objective


def queued():
    return unit(K, D, 7), unit(K, D, 8)


def four(n=N):
    return unit(n, D, 1, True), unit(n, D, 2, True), unit(n, D, 3), unit(n, D, 4)


def embeddings(a, k, slow_a, slow_k, equal=True, clock=START):
    ids = {"speech": torch.tensor(SPEECH), "text": torch.tensor(TEXT)} if equal else None
    return Embeddings.of(speech=a, text=k, target={"speech": slow_a, "text": slow_k}, item_ids=ids, clock=clock)


def loop(a, k, slow_a, slow_k, scale, alpha, equal=True, held=True):
    """2107.07651, section 3.3: s(I, T) with momentum keys of batch and queue, both directions, pair by pair."""
    speech, text = (SPEECH, TEXT) if equal else (list(range(len(a))), list(range(len(a))))
    others, queues = (HELD, queued()) if held else ([], (slow_a[:0], slow_k[:0]))
    names = [*zip(speech, text, strict=True), *(tuple(pair) for pair in others)]
    found = []
    for online, slow, keys in (
        (a, slow_a, torch.cat([slow_k, queues[1]])),
        (k, slow_k, torch.cat([slow_a, queues[0]])),
    ):
        total = 0.0
        for i in range(len(a)):
            m = len(keys)
            logits = [scale * (online[i] @ keys[j]) for j in range(m)]
            whole = sum(x.exp() for x in logits).log()
            momentum = [math.exp(float(scale.detach()) * float(slow[i] @ keys[j])) for j in range(m)]
            equals = [float(names[i][0] == names[j][0] or names[i][1] == names[j][1]) for j in range(m)]
            for j in range(m):
                target = alpha * momentum[j] / sum(momentum) + (1 - alpha) * equals[j] / sum(equals)
                total = total - target * (logits[j] - whole)
        found.append(total / len(a))
    return sum(found) / 2


@pytest.mark.parametrize(("alpha", "held"), [(0.4, True), (0.0, True), (1.0, False)])
def test_equals_the_papers_loop_in_value_and_gradient(alpha, held):
    a, k, slow_a, slow_k = four()
    objective = made(held, alpha=alpha)
    got = objective(embeddings(a, k, slow_a, slow_k), *BOTH)
    want = loop(a, k, slow_a, slow_k, objective.log_scale.exp(), alpha, held=held)
    torch.testing.assert_close(got.value, want.reshape(()), rtol=1e-11, atol=1e-11)
    leaves = (a, k, objective.log_scale)
    for one, other in zip(torch.autograd.grad(got.value, leaves), torch.autograd.grad(want, leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)
    assert float(got.parts["queue"]) == (K if held else 0)
    assert float(got.parts["alpha"]) == pytest.approx(alpha)


def test_without_alpha_and_queue_it_is_infonce_against_fixed_keys():
    a, k, _, _ = four()
    infonce = InfoNCE(temperature=1 / 8).double()
    infonce.log_scale.data.fill_(math.log(8))
    e = embeddings(a, k, a.detach(), k.detach())
    got, want = made(queue=0, held=False, alpha=0)(e, *BOTH), infonce(e, *BOTH)
    torch.testing.assert_close(got.value, want.value, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(got.parts["mutual_information"], want.parts["mutual_information"])
    # each direction's gradient is InfoNCE's own, of its anchors alone
    found = torch.autograd.grad(got.value, (a, k))
    for number, (x, y) in enumerate(((a, k.detach()), (k, a.detach()))):
        forward = (8 * x @ y.T).log_softmax(1)
        same = torch.tensor([[float(SPEECH[i] == SPEECH[j] or TEXT[i] == TEXT[j]) for j in range(N)] for i in range(N)])
        direction = -((same / same.sum(1, keepdim=True)).double() * forward).sum(1).mean() / 2
        torch.testing.assert_close(found[number], torch.autograd.grad(direction, x)[0])


def test_alpha_ramps_over_a_thirtieth_of_training_and_is_held():
    objective = made(held=False, queue=0)
    e = four()
    told = [objective(embeddings(*e, clock=Clock(step, 301)), *BOTH).parts["alpha"] for step in (0, 5, 10, 300)]
    assert [float(x) for x in told] == pytest.approx([0, 0.2, 0.4, 0.4])


def test_after_a_step_the_queue_holds_the_targets_and_the_temperature_is_clamped():
    objective = made(held=False, queue=N + 2)
    e = embeddings(*four())
    objective.log_scale.data.fill_(0.1)
    objective.after_step(e)
    assert float(objective.log_scale.exp()) == pytest.approx(2)  # a temperature of 0.5
    objective.log_scale.data.fill_(9.0)
    objective.after_step(e)
    assert 1 / float(objective.log_scale.exp()) == pytest.approx(0.001)
    queue = objective.queues["speech-text"]
    assert len(queue) == N + 2
    expected = torch.cat([e.target("speech"), e.target("text")], dim=1)
    torch.testing.assert_close(queue.rows(), torch.cat([expected[-2:], expected]))
    assert queue.ids()[-1].tolist() == [SPEECH[-1], TEXT[-1]]


def test_identical_embeddings_give_the_logarithm_of_the_keys_and_order_does_not_matter(monkeypatch):
    z = unit(1, D, 1).expand(N, D).contiguous()
    for reduction, directions in (("mean", 1), ("sum", 2)):
        value = made(held=False, reduction=reduction)(embeddings(z, z, z, z), *BOTH).value
        assert float(value.detach()) == pytest.approx(directions * math.log(N))
    objective, leaves = made(alpha=0.3), four()
    whole = objective(embeddings(*leaves, equal=False), *BOTH).value
    order = torch.tensor([3, 0, 4, 1, 2, 5])
    names = dict.fromkeys(BOTH, order)
    a, k, slow_a, slow_k = (x[order] for x in leaves)
    turned = Embeddings.of(speech=a, text=k, target={"speech": slow_a, "text": slow_k}, item_ids=names)
    torch.testing.assert_close(objective(turned, *BOTH).value, whole)
    gradients = torch.autograd.grad(whole, leaves[:2], retain_graph=True)
    monkeypatch.setattr(tiles, "BLOCK", 3 * (N + K))
    parts = objective(embeddings(*leaves, equal=False), *BOTH).value
    torch.testing.assert_close(torch.autograd.grad(parts, leaves[:2]), gradients)


def test_gradcheck_and_finite_in_bf16_at_the_largest_scale():
    a, k, slow_a, slow_k = four(4)
    objective = made(alpha=0.3)
    assert torch.autograd.gradcheck(
        lambda x, y: objective(embeddings(x, y, slow_a, slow_k, equal=False), *BOTH).value, (a, k)
    )
    halves = [x.detach().bfloat16() for x in four()]
    value = MomentumTargets(temperature=0.001, queue=K, alpha=0.4)(embeddings(*halves), *BOTH).value
    assert bool(torch.isfinite(value))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"temperature": 0.7}, "puts the scale below 2; use a temperature of at most 0.5, or lower min_scale"),
        ({"temperature": 0.0005}, "use a temperature of at least 0.001, or raise max_scale"),
        ({"alpha": 1.5}, "alpha: 1.5 must be at most 1"),
        ({"queue": -1}, "queue: -1 must be at least 0"),
    ],
)
def test_mistakes_are_one_line(settings, line):
    with pytest.raises(UserError) as error:
        MomentumTargets(**settings)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
