"""The pair loss against pytorch-metric-learning's pairs, a loop from its equation, and its identities."""

import pytest
import torch
from dense_reference import assert_same, embeddings, unit
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.reducers import DoNothingReducer
from torch.nn.functional import normalize

from xmodal.batch import Clock, Embeddings
from xmodal.errors import UserError
from xmodal.objectives import Pair

N, D = 9, 6
LABELS = torch.tensor([0, 1, 3, 0, 2, 1, 3, 2, 2])
SPEECH, TEXT = [0, 1, 2, 3, 0, 5, 6, 7, 8], [0, 1, 1, 3, 4, 5, 6, 7, 2]


def loop(a, k, alike, margin, average="active", itself=False):
    """Hadsell et al. 2006, over every (i, j); `itself`: i = j is no pair."""
    pulls, pushes = [], []
    for i in range(len(a)):
        for j in range(len(k)):
            distance = (a[i] - k[j]).norm()
            if alike(i, j):
                pulls += [] if itself and i == j else [distance**2 / 2]
            else:
                pushes.append((margin - distance).clamp(min=0) ** 2 / 2)
    total = a.sum() * 0
    for terms in (pulls, pushes):
        used = [term for term in terms if term > 0 or average == "all"]
        total = total + (sum(used) / len(used) if used else 0)
    return total


def same(i, j):
    return SPEECH[i] == SPEECH[j] or TEXT[i] == TEXT[j]


@pytest.mark.parametrize("average", ["active", "all"])
@pytest.mark.parametrize("margin", [0.8, 1.3])
def test_two_sides_are_the_loop_with_equal_items(margin, average):
    x, y = unit(N, D, 1, True), unit(N, D, 2, True)
    a, k = normalize(x, dim=1), normalize(y, dim=1)
    found = Pair(margin=margin, average=average)(embeddings(a, k, k, SPEECH, TEXT), "speech", "text")
    want = loop(a, k, same, margin, average)
    assert_same(found.value, want, x, y)
    torch.testing.assert_close(found.parts["loss"], want.detach(), rtol=1e-9, atol=1e-9)
    near = [(a[i] - k[j]).norm() < margin for i in range(N) for j in range(N) if not same(i, j)]
    assert float(found.parts["active"]) == pytest.approx(sum(map(float, near)) / len(near))


def test_one_side_with_labels_is_the_librarys_pairs_squared():
    x = unit(N, D, 3, True)
    z = normalize(x, dim=1)
    found = Pair(margin=1.2, positives="labels")(Embeddings.of(text=z, labels=LABELS), "text").value
    pairs = ContrastiveLoss(pos_margin=0, neg_margin=1.2, reducer=DoNothingReducer())(z, LABELS)
    want = 0
    for name in ("pos_loss", "neg_loss"):
        terms = pairs[name]["losses"] ** 2 / 2
        want = want + terms[terms > 0].mean()
    assert_same(found, want, x, within=1e-7)


def test_two_views_of_one_side_are_positives():
    z1, z2 = unit(N, D, 1), unit(N, D, 2)
    found = Pair()(Embeddings.of(image=[z1, z2]), "image").value
    z = torch.cat([z1, z2])
    torch.testing.assert_close(found, loop(z, z, lambda i, j: i % N == j % N, 1.0, itself=True))


def test_a_margin_that_no_item_meets_is_said_and_has_a_gradient_of_zero():
    z = torch.eye(4, dtype=torch.float64, requires_grad=True)
    found = Pair(margin=0.5, positives="labels")(Embeddings.of(x=z), "x")  # nobody has a label: no positive either
    assert (float(found.value.detach()), float(found.parts["active"])) == (0, 0)
    assert not torch.autograd.grad(found.value, z)[0].any()


def test_the_margin_follows_its_schedule():
    a, k = unit(N, D, 1), unit(N, D, 2)
    moving = Pair(margin={"schedule": "linear", "from": 0.5, "to": 1.5})
    at_the_end = moving(Embeddings.of(speech=a, text=k, clock=Clock(9, 10)), "speech", "text").value
    torch.testing.assert_close(at_the_end, Pair(margin=1.5)(Embeddings.of(speech=a, text=k), "speech", "text").value)


def test_collapsed_and_half_precision_embeddings_stay_finite():
    z = unit(1, D, 1).expand(N, D).bfloat16().clone().requires_grad_()
    loss = Pair()(Embeddings.of(speech=z, text=z), "speech", "text").value
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(torch.autograd.grad(loss, z)[0]).all())


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"views": 1}, "Pair: views: of 1 view .* set views: 2"), ({"margin": 0}, "Pair: margin: 0 must be greater")],
)
def test_bad_settings_are_one_line(settings, said):
    with pytest.raises(UserError, match=said):
        Pair(**settings)
