"""The margin loss against pytorch-metric-learning's, with the gradient of its boundary; equal items; gradcheck."""

import pytest
import torch
from dense_reference import assert_same, embeddings, unit
from pytorch_metric_learning.losses import MarginLoss
from torch.nn.functional import normalize

from xmodal.batch import Embeddings
from xmodal.objectives import Margin

N, D = 9, 6
LABELS = torch.tensor([0, 1, 3, 0, 2, 1, 3, 2, 2])
SPEECH, TEXT = [0, 1, 2, 3, 0, 5, 6, 7, 8], [0, 1, 1, 3, 4, 5, 6, 7, 2]


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("beta", [1.2, 0.9])
def test_equals_the_librarys_in_value_and_gradient(sides, beta):
    x, y = unit(N, D, 1, True), unit(N, D, 2, True)
    a, k = normalize(x, dim=1), normalize(y, dim=1)
    ours = Margin(beta=beta, positives="labels").double()
    found = ours(Embeddings.of(speech=a, text=k, labels=LABELS), *("speech", "text")[:sides])
    theirs = MarginLoss(margin=0.2, beta=beta, learn_beta=True).double()
    want = theirs(a, LABELS) if sides == 1 else theirs(a, LABELS, ref_emb=k, ref_labels=LABELS + 0)
    assert_same(found.value, want, *(x, y)[:sides], within=1e-7)
    slopes = torch.autograd.grad(found.value, ours.beta) + torch.autograd.grad(want, theirs.beta)
    assert float(slopes[0]) == pytest.approx(float(slopes[1]), rel=1e-6)
    assert float(found.parts["beta"]) == pytest.approx(beta, rel=1e-6)


def test_equal_items_are_positives_and_each_triplet_has_two_terms():
    a, k = unit(N, D, 1, True), unit(N, D, 2)
    found = Margin().double()(embeddings(a, k, k, SPEECH, TEXT), "speech", "text")
    terms, beta = [], float(torch.tensor(1.2))
    alike = [[SPEECH[i] == SPEECH[j] or TEXT[i] == TEXT[j] for j in range(N)] for i in range(N)]
    for i in range(N):
        for p in (j for j in range(N) if alike[i][j]):
            for n in (j for j in range(N) if not alike[i][j]):
                terms.append((0.2 + (2 - 2 * a[i] @ k[p]).sqrt() - beta).clamp(min=0))
                terms.append((0.2 - (2 - 2 * a[i] @ k[n]).sqrt() + beta).clamp(min=0))
    active = [term for term in terms if term > 0]
    want = sum(active) / len(active)
    assert_same(found.value, want, a)
    assert float(found.parts["active"]) == pytest.approx(len(active) / len(terms))


def test_where_nothing_is_compared_it_is_zero_with_a_gradient():
    z = torch.eye(3, dtype=torch.float64, requires_grad=True)
    objective = Margin(positives="labels").double()
    found = objective(Embeddings.of(x=z), "x")  # no labels: nobody has a positive
    assert (float(found.value.detach()), float(found.parts["active"])) == (0, 0)
    assert not any(g.any() for g in torch.autograd.grad(found.value, (z, objective.beta)))


def test_the_boundary_can_be_fixed():
    assert not Margin(learnable=False).beta.requires_grad


def test_blocks_and_order_change_nothing_and_gradcheck(monkeypatch):
    from xmodal.objectives.engine import tiles

    x, y = unit(6, D, 1, True), unit(6, D, 2, True)
    objective = Margin().double()

    def value(first, second):
        e = Embeddings.of(speech=normalize(first, dim=1), text=normalize(second, dim=1))
        return objective(e, "speech", "text").value

    whole, order = value(x, y), torch.tensor([3, 0, 4, 1, 5, 2])
    torch.testing.assert_close(value(x[order], y[order]), whole)
    assert torch.autograd.gradcheck(value, (x, y))
    monkeypatch.setattr(tiles, "BLOCK", 2 * 6)
    parts = value(x, y)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(
        torch.autograd.grad(parts, (x, objective.beta)), torch.autograd.grad(whole, (x, objective.beta))
    )
