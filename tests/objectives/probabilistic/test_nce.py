"""NCE against a loop from its equation, written with h; the noise; equal items; views."""

import pytest
import torch
from dense_reference import assert_same, embeddings, unit

from xmodal.batch import Embeddings
from xmodal.errors import UserError
from xmodal.objectives import NCE

N, D = 9, 6
SPEECH, TEXT = [0, 1, 2, 3, 0, 5, 6, 7, 8], [0, 1, 1, 3, 4, 5, 6, 7, 2]


def exactly(objective, scale=3.0):
    objective.double().log_scale.data.fill_(torch.tensor(scale).double().log())
    return objective


def loop(score, alike, noise):
    """1805.01978, over the items of a batch: h = P / (P + K p) with P = e^score."""
    n = len(score)
    negatives = [[j for j in range(n) if not alike(i, j)] for i in range(n)]
    many = sum(map(len, negatives)) / n
    h = score.exp() / (score.exp() + many * noise)
    total = sum(-h[i, i].log() - sum((1 - h[i, j]).log() for j in negatives[i]) for i in range(n))
    return total / n


@pytest.mark.parametrize("noise", [None, 1 / 50])
def test_equals_the_loop_with_equal_items(noise):
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    objective = exactly(NCE(noise=noise))
    found = objective(embeddings(a, k, k, SPEECH, TEXT), "speech", "text")
    score = objective.log_scale.exp() * a @ k.T
    want = loop(score, lambda i, j: SPEECH[i] == SPEECH[j] or TEXT[i] == TEXT[j], noise or 1 / N)
    assert_same(found.value, want, a, k, objective.log_scale)
    torch.testing.assert_close(found.parts["loss"], want.detach())


def test_its_least_value_is_where_scores_are_the_log_of_the_ratio():
    """With one negative for a pair and noise p, e^s = p on all pairs makes h = 1/2: 2 log 2."""
    score = torch.log(torch.tensor(0.3, dtype=torch.float64))
    raw = {"a": score * torch.eye(2).double() + score * (1 - torch.eye(2).double()), "b": torch.eye(2).double()}
    objective = exactly(NCE(noise=0.3, score="dot"), scale=1.0)
    value = objective(Embeddings.of(a=torch.eye(2), b=torch.eye(2), raw=raw), "a", "b").value
    assert float(value.detach()) == pytest.approx(2 * torch.log(torch.tensor(2.0)).item(), rel=1e-6)


def test_two_views_are_two_sides_and_order_changes_nothing_and_gradcheck():
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    objective, order = exactly(NCE()), torch.tensor([3, 0, 4, 1, 2, 8, 7, 6, 5])
    two = objective(Embeddings.of(a=a, b=k), "a", "b").value
    torch.testing.assert_close(objective(Embeddings.of(x=[a, k]), "x").value, two)
    torch.testing.assert_close(objective(Embeddings.of(a=a[order], b=k[order]), "a", "b").value, two)
    few = (a[:4].detach().requires_grad_(), k[:4].detach().requires_grad_())
    assert torch.autograd.gradcheck(lambda x, y: objective(Embeddings.of(a=x, b=y), "a", "b").value, few)


def test_one_item_and_half_precision_stay_finite():
    a, k = unit(N, D, 1), unit(N, D, 2)
    one = NCE()(Embeddings.of(a=a[:1], b=k[:1]), "a", "b").value
    halves = NCE(temperature=0.01)(Embeddings.of(a=a.bfloat16(), b=k.bfloat16()), "a", "b").value
    assert bool(torch.isfinite(torch.stack([one, halves.double()])).all())


def test_noise_is_a_probability():
    with pytest.raises(UserError, match="NCE: noise: 2 must be at most 1"):
        NCE(noise=2)
