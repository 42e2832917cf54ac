"""JSD, Donsker-Varadhan and NWJ against their equations as loops, and as bounds on a known mutual information."""

import math

import pytest
import torch
from dense_reference import assert_same, embeddings, unit

from xmodal.batch import Embeddings
from xmodal.errors import UserError
from xmodal.objectives import JSD, NWJ, DonskerVaradhan

N, D = 9, 6
SPEECH, TEXT = [0, 1, 2, 3, 0, 5, 6, 7, 8], [0, 1, 1, 3, 4, 5, 6, 7, 2]
BOUNDS = (JSD, DonskerVaradhan, NWJ)


def exactly(objective, scale=3.0):
    objective.double().log_scale.data.fill_(torch.tensor(scale).double().log())
    return objective


def expectations(T, alike):
    """T of the pairs, and of the negatives."""
    n = len(T)
    return T.diagonal(), torch.stack([T[i, j] for i in range(n) for j in range(n) if not alike(i, j)])


def losses(T, alike):
    """Each bound's loss, from its paper's equation."""
    joint, product = expectations(T, alike)
    jsd = (1 + (-joint).exp()).log().mean() + (1 + product.exp()).log().mean()
    varadhan = joint.mean() - product.exp().mean().log()
    nwj = joint.mean() - (product - 1).exp().mean()
    return {JSD: jsd, DonskerVaradhan: -varadhan, NWJ: -nwj}


@pytest.mark.parametrize("kind", BOUNDS)
def test_equals_its_equation_with_equal_items(kind):
    a, k = unit(N, D, 1, True), unit(N, D, 2, True)
    objective = exactly(kind())
    found = objective(embeddings(a, k, k, SPEECH, TEXT), "speech", "text")
    T = objective.log_scale.exp() * a @ k.T
    want = losses(T, lambda i, j: SPEECH[i] == SPEECH[j] or TEXT[i] == TEXT[j])
    assert_same(found.value, want[kind], a, k, objective.log_scale)
    torch.testing.assert_close(found.parts["loss"], want[kind].detach())
    told = -want[NWJ if kind is NWJ else DonskerVaradhan].detach()  # JSD tells its critic's Donsker-Varadhan bound
    torch.testing.assert_close(found.parts["mutual_information"], told)
    if kind is JSD:
        torch.testing.assert_close(found.parts["divergence"], math.log(2) - want[JSD].detach() / 2)


@pytest.mark.parametrize("kind", BOUNDS)
def test_a_critic_that_sees_nothing_bounds_nothing(kind):
    """T = 0: JSD 2 log 2, divergence 0; Donsker-Varadhan 0; NWJ 1/e. Its best constant, T = 1, gives NWJ 0."""
    a, k = torch.eye(4).double()[:2].repeat(2, 1), torch.eye(4).double()[2:].repeat(2, 1)
    found = kind()(Embeddings.of(a=a, b=k), "a", "b").value
    assert float(found.detach()) == pytest.approx({JSD: 2 * math.log(2), DonskerVaradhan: 0, NWJ: math.exp(-1)}[kind])


def test_the_bounds_are_ordered_and_tight_for_the_right_critic():
    """Two items, each the pair of itself: mutual information log 2 where every joint sample is seen.

    The product's samples are the negatives alone, so the ratio of densities is unbounded, and NWJ <= Donsker-Varadhan
    for one critic, with equality where the critic's constant is right.
    """
    a = torch.eye(2).double()
    told = {
        kind: float(exactly(kind())(Embeddings.of(a=a, b=a), "a", "b").parts["mutual_information"]) for kind in BOUNDS
    }
    assert told[NWJ] < told[DonskerVaradhan] == told[JSD]
    z = unit(N, D, 1)
    varadhan = exactly(DonskerVaradhan())(Embeddings.of(a=z, b=z), "a", "b").parts["mutual_information"]
    joint, product = expectations(3 * z @ z.T, lambda i, j: i == j)
    shifted = product - product.exp().mean().log() + 1  # T + c, with E e^(T + c - 1) = 1
    nwj = (joint - product.exp().mean().log() + 1).mean() - (shifted - 1).exp().mean()
    torch.testing.assert_close(varadhan, nwj)


@pytest.mark.parametrize("kind", BOUNDS)
def test_views_order_rotation_blocks_and_gradcheck(kind, monkeypatch):
    from xmodal.objectives.engine import tiles

    a, k = unit(6, D, 1, True), unit(6, D, 2, True)
    objective, order = exactly(kind()), torch.tensor([3, 0, 4, 1, 5, 2])
    rotation = torch.linalg.qr(unit(D, D, 9))[0]

    def value(x, y):
        return objective(Embeddings.of(a=x, b=y), "a", "b").value

    whole = value(a, k)
    torch.testing.assert_close(objective(Embeddings.of(x=[a, k]), "x").value, whole)
    torch.testing.assert_close(value(a[order], k[order]), whole)
    torch.testing.assert_close(value(a @ rotation, k @ rotation), whole)
    assert torch.autograd.gradcheck(value, (a, k))
    monkeypatch.setattr(tiles, "BLOCK", 2 * 6)
    assert_same(value(a, k), whole, a, k, objective.log_scale)


@pytest.mark.parametrize("kind", BOUNDS)
def test_no_negatives_and_half_precision_stay_finite(kind):
    a, k = unit(N, D, 1, True), unit(N, D, 2)
    same = {"a": torch.zeros(N, dtype=torch.long), "b": torch.zeros(N, dtype=torch.long)}
    scale = {"temperature": 0.0125, "max_scale": 80.0} if kind is NWJ else {"temperature": 0.01}
    for e in (
        Embeddings.of(a=a, b=k, item_ids=same),  # one item N times
        Embeddings.of(a=a.bfloat16(), b=k.bfloat16()),
        Embeddings.of(a=a, b=k, item_ids={"a": torch.tensor([0] * N), "b": torch.arange(N)}),
    ):
        found = kind(**scale)(e, "a", "b")
        assert bool(
            torch.isfinite(torch.stack([found.value.double(), *map(torch.Tensor.double, found.parts.values())])).all()
        )
        assert bool(torch.isfinite(torch.autograd.grad(found.value, a)[0]).all())


def test_nwj_says_that_its_exponential_overflows():
    with pytest.raises(UserError, match=r"NWJ: max_scale: 100: .* expected at most 80"):
        NWJ(max_scale=100)
