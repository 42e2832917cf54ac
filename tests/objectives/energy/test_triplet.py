"""The triplet loss against pytorch-metric-learning's and torch's, a loop, and its identities."""

import pytest
import torch
from dense_reference import assert_same, embeddings, unit
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from torch.nn.functional import normalize, relu, triplet_margin_loss

from xmodal.batch import Embeddings
from xmodal.objectives import VSEPP, Triplet

N, D = 9, 6
LABELS = torch.tensor([0, 1, 3, 0, 2, 1, 3, 2, 2])
SPEECH, TEXT = [0, 1, 2, 3, 0, 5, 6, 7, 8], [0, 1, 1, 3, 4, 5, 6, 7, 2]


def library(anchors, labels, keys=None, key_labels=None, margin=0.2, mined=False):
    """Its mean over non-zero triplets, on squared distances."""
    distance = LpDistance(power=2)
    loss = TripletMarginLoss(margin=margin, distance=distance)
    miner = TripletMarginMiner(margin=margin, type_of_triplets="semihard", distance=distance)
    chosen = miner(anchors, labels, keys, key_labels) if mined else None
    return loss(anchors, labels, chosen, keys, key_labels)


@pytest.mark.parametrize("negatives", ["all", "semi_hard"])
def test_one_side_with_labels_is_the_librarys(negatives):
    x = unit(N, D, 3, True)
    z = normalize(x, dim=1)
    found = Triplet(negatives=negatives, positives="labels")(Embeddings.of(text=z, labels=LABELS), "text").value
    assert_same(found, library(z, LABELS, mined=negatives == "semi_hard"), x, within=1e-7)


@pytest.mark.parametrize("negatives", ["all", "semi_hard"])
def test_two_sides_are_the_librarys_in_both_directions(negatives):
    x, y = unit(N, D, 1, True), unit(N, D, 2, True)
    a, k = normalize(x, dim=1), normalize(y, dim=1)
    mined = negatives == "semi_hard"
    objective = Triplet(negatives=negatives, positives="labels", margin=0.5)
    found = objective(Embeddings.of(speech=a, text=k, labels=LABELS), "speech", "text").value
    both = [
        library(*pair, margin=0.5, mined=mined) for pair in ((a, LABELS, k, LABELS + 0), (k, LABELS, a, LABELS + 0))
    ]
    assert_same(found, sum(both) / 2, x, y, within=1e-7)


def loop(a, k, same, margin, negatives):
    """FaceNet's equation over the pair and equal items, in both directions, mean over the terms that are not zero."""
    means = []
    for first, second in ((a, k), (k, a)):
        terms = []
        for i in range(N):
            far = [(first[i] - second[n]).square().sum() for n in range(N) if not same(i, n)]
            for p in range(N):
                if same(i, p):
                    near = (first[i] - second[p]).square().sum()
                    chosen = {
                        "all": far,
                        "semi_hard": [d for d in far if near < d < near + margin],
                        "hardest": [min(far)],
                    }[negatives]
                    terms += [relu(near - d + margin) for d in chosen]
        active = [term for term in terms if term > 0]
        means.append((sum(active) / len(active), len(active) / len(terms)))
    return sum(mean for mean, _ in means) / 2, sum(share for _, share in means) / 2


@pytest.mark.parametrize("negatives", ["all", "semi_hard", "hardest"])
def test_equal_items_are_positives(negatives):
    x, y = unit(N, D, 1, True), unit(N, D, 2, True)
    a, k = normalize(x, dim=1), normalize(y, dim=1)
    found = Triplet(negatives=negatives)(embeddings(a, k, k, SPEECH, TEXT), "speech", "text")
    want, active = loop(a, k, lambda i, j: SPEECH[i] == SPEECH[j] or TEXT[i] == TEXT[j], 0.2, negatives)
    assert_same(found.value, want, x, y)
    assert float(found.parts["active"]) == pytest.approx(active)
    summed = Triplet(negatives=negatives, reduction="sum")(embeddings(a, k, k, SPEECH, TEXT), "speech", "text")
    torch.testing.assert_close(summed.value, 2 * found.value)


def test_over_all_terms_it_is_torchs_with_squared_distances():
    a, k = unit(2, D, 1), unit(2, D, 2)
    found = Triplet(average="all", margin=1.0)(Embeddings.of(speech=a, text=k), "speech", "text").value
    pairs = [(x, y, z) for x, y, z in ((a, k, k.flip(0)), (k, a, a.flip(0)))]
    want = [
        torch.nn.functional.triplet_margin_with_distance_loss(
            *rows, distance_function=lambda u, v: (u - v).square().sum(1), margin=1.0
        )
        for rows in pairs
    ]
    torch.testing.assert_close(found, sum(want) / 2)
    assert triplet_margin_loss(*pairs[0]) != want[0]  # torch's own is on distances, not on their squares


def test_vse_pp_is_half_of_it_with_twice_the_margin():
    e = Embeddings.of(speech=unit(N, D, 1), text=unit(N, D, 2))
    hardest = Triplet(negatives="hardest", average="all", margin=0.4)(e, "speech", "text").value
    torch.testing.assert_close(VSEPP(margin=0.2)(e, "speech", "text").value, hardest / 2)


def test_a_margin_that_no_item_meets_is_said_and_has_a_gradient_of_zero():
    z = torch.eye(4, dtype=torch.float64, requires_grad=True)
    for negatives in ("all", "semi_hard", "hardest"):
        found = Triplet(negatives=negatives)(Embeddings.of(speech=z, text=z), "speech", "text")
        assert (float(found.value.detach()), float(found.parts["active"])) == (0, 0)
        assert not torch.autograd.grad(found.value, z)[0].any()
    alone = Triplet(negatives="hardest")(Embeddings.of(speech=z[:1], text=z[1:2]), "speech", "text").value
    assert float(alone.detach()) == 0
    assert not torch.autograd.grad(alone, z)[0].any()
