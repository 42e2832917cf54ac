"""DCL against lightly's on one side, its loop on two, and the closed forms."""

import math
import warnings

import pytest
import torch
from dense_reference import unit
from lightly.loss import DCLLoss, DCLWLoss

from xmodal.batch import Embeddings
from xmodal.objectives import DCL, HNNCE

N, D = 9, 6
IDS = torch.tensor([0, 1, 2, 0, 4, 5, 1, 1, 8])


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_one_side_is_lightlys(sigma):
    """Equation 6: negatives are both views of the other items. lightly normalises what it is given."""
    x1, x2 = unit(N, D, 1, True), unit(N, D, 2, True)
    z1, z2 = (torch.nn.functional.normalize(2 * x, dim=1) for x in (x1, x2))
    got = DCL(temperature=0.2, sigma=sigma).double()(Embeddings.of(image=[z1, z2]), "image")
    theirs = DCLLoss(temperature=0.2) if sigma is None else DCLWLoss(temperature=0.2, sigma=sigma)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DCLWLoss makes a tensor of a tensor
        want = theirs(z1, z2)
    torch.testing.assert_close(got.value, want, rtol=1e-6, atol=1e-6)  # log_scale starts as fp32
    torch.testing.assert_close(got.parts["loss"], want.detach(), rtol=1e-6, atol=1e-6)
    gradients = torch.autograd.grad(got.value, (x1, x2), retain_graph=True), torch.autograd.grad(want, (x1, x2))
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("ids", [torch.arange(N), IDS, torch.zeros(N, dtype=torch.int64)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_two_sides_are_a_loop_over_the_other_sides_items(ids, reduction):
    """lightly counts the anchor's own side among the negatives, so here a loop is what it is compared with."""
    a, k, s = unit(N, D, 1, True), unit(N, D, 2, True), math.exp(2.0)
    objective = DCL(reduction=reduction, learnable=True).double()
    objective.log_scale.data.fill_(2.0)
    got = objective(Embeddings.of(speech=a, text=k, item_ids={"speech": ids}), "speech", "text")
    total, used = (a.sum() + k.sum()) * 0, 0
    for one, other in ((a, k), (k, a)):
        for i in range(N):
            terms = [torch.exp(s * one[i] @ other[j]) for j in range(N) if ids[i] != ids[j]]
            if terms:  # an item without negatives adds nothing
                total, used = total - s * one[i] @ other[i] + sum(terms).log(), used + 1
    total = total / N / (2 if reduction == "mean" else 1)
    torch.testing.assert_close(got.value, total, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.autograd.grad(got.value, (a, k)), torch.autograd.grad(total, (a, k)))
    assert float(got.parts["anchors"]) == used / 2 / N


def test_identical_embeddings_give_the_logarithm_of_the_negatives():
    z = unit(1, D, 1).expand(N, D)
    two = DCL().double()(Embeddings.of(speech=z, text=z), "speech", "text").value
    assert float(two) == pytest.approx(math.log(N - 1), rel=1e-6)
    one = DCL().double()(Embeddings.of(image=[z, z]), "image").value
    assert float(one) == pytest.approx(math.log(2 * (N - 1)), rel=1e-6)


@pytest.mark.parametrize("sides", [("image",), ("image", "text")])
def test_it_is_hn_nce_without_the_pair_and_without_hardness(sides):
    e = Embeddings.of(image=[unit(N, D, 1), unit(N, D, 2)], text=unit(N, D, 3), item_ids={"image": IDS})
    settings = {"temperature": 0.3, "learnable": False}
    want = HNNCE(alpha=0, beta=0, **settings).double()(e, *sides).value
    torch.testing.assert_close(DCL(**settings).double()(e, *sides).value, want)


def test_gradcheck_blocks_order_rotation_and_bf16(monkeypatch):
    from xmodal.objectives.engine import tiles

    objective, z1, z2 = DCL(temperature=0.4, sigma=0.5).double(), unit(N, D, 1, True), unit(N, D, 2, True)

    def value(first, second, ids=IDS):
        return objective(Embeddings.of(image=[first, second], item_ids={"image": ids}), "image").value

    whole, order = value(z1, z2), torch.randperm(N, generator=torch.Generator().manual_seed(0))
    turn = torch.linalg.qr(unit(D, D, 4))[0]
    torch.testing.assert_close(value(z1[order] @ turn, z2[order] @ turn, IDS[order]), whole)
    monkeypatch.setattr(tiles, "BLOCK", 4 * N)
    torch.testing.assert_close(value(z1, z2), whole)
    torch.testing.assert_close(torch.autograd.grad(value(z1, z2), z1), torch.autograd.grad(whole, z1))
    plain = DCL(temperature=0.4).double()  # DCLW's weights carry no gradient, so finite differences see more
    pair = unit(5, 3, 1, True), unit(5, 3, 2, True)
    assert torch.autograd.gradcheck(lambda a, k: plain(Embeddings.of(x=a, y=k), "x", "y").value, pair)
    assert torch.autograd.gradgradcheck(lambda a, k: plain(Embeddings.of(x=a, y=k), "x", "y").value, pair)
    x = unit(N, D, 1).bfloat16()
    assert DCL(temperature=0.01)(Embeddings.of(speech=x, text=-x), "speech", "text").value.isfinite()
