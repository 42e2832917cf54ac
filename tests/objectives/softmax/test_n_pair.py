"""N-pair against pytorch-metric-learning's, its loop, and its identities."""

import math

import pytest
import torch
from dense_reference import unit
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.losses import NPairsLoss
from pytorch_metric_learning.regularizers import LpRegularizer

from xmodal.batch import Embeddings
from xmodal.errors import UserError
from xmodal.objectives import NPair

N, D = 9, 6
IDS = torch.tensor([0, 1, 2, 0, 4, 5, 1, 1, 8])


def raw(n, d, seed, grad=False):
    """Rows of different lengths."""
    return (unit(n, d, seed) * torch.linspace(0.5, 3, n, dtype=torch.float64)[:, None]).requires_grad_(grad)


def run(objective, a, k, ids=None):
    given = {} if ids is None else {"item_ids": {"speech": ids}}
    e = Embeddings.of(speech=a, text=k, raw={"speech": a, "text": k}, **given)
    return objective.double()(e, "speech", "text")


@pytest.mark.parametrize("l2", [0.0, 0.02])
def test_equals_pytorch_metric_learning(l2):
    """Theirs takes both sides as one batch, with the pairs of anchors and positives; left to itself it normalises."""
    a, k = raw(N, D, 1, True), raw(N, D, 2, True)
    penalty = {"embedding_regularizer": LpRegularizer(p=2, power=2), "embedding_reg_weight": l2} if l2 else {}
    pairs, none = torch.arange(N), torch.empty(0, dtype=torch.int64)
    theirs = NPairsLoss(distance=DotProductSimilarity(normalize_embeddings=False), **penalty)
    want = theirs(torch.cat([a, k]), torch.arange(N).repeat(2), (pairs, pairs + N, none, none))
    got = run(NPair(l2=l2), a, k)
    torch.testing.assert_close(got.value, want, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(got.parts["loss"], want.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.autograd.grad(got.value, (a, k)), torch.autograd.grad(want, (a, k)))


@pytest.mark.parametrize("ids", [IDS, torch.zeros(N, dtype=torch.int64)])
def test_equal_items_are_no_negatives_and_both_directions_are_a_mean(ids):
    a, k = raw(N, D, 1, True), raw(N, D, 2, True)
    total = a.sum() * 0
    for one, other in ((a, k), (k, a)):
        for i in range(N):
            others = [(one[i] @ (other[j] - other[i])).exp() for j in range(N) if ids[i] != ids[j]]
            total = total + torch.log1p(sum(others, one.sum() * 0))
    squares = ((a**2).sum() + (k**2).sum()) / (2 * N)
    got = run(NPair(l2=0.1, symmetric=True), a, k, ids)
    want = total / (2 * N) + 0.1 * squares
    torch.testing.assert_close(got.value, want, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.autograd.grad(got.value, (a, k)), torch.autograd.grad(want, (a, k)))
    assert float(got.parts["norm"]) == pytest.approx(math.sqrt(float(squares.detach())))
    assert float(got.parts["l2"]) == pytest.approx(0.1 * float(squares.detach()))


def test_identical_embeddings_give_log_n_and_order_and_rotation_change_nothing():
    x = unit(1, D, 1).expand(N, D) * 1.7
    assert float(run(NPair(l2=0), x, x).value) == pytest.approx(math.log(N), rel=1e-12)
    a, k = raw(N, D, 1), raw(N, D, 2)
    order, turn = torch.randperm(N, generator=torch.Generator().manual_seed(0)), torch.linalg.qr(unit(D, D, 4))[0]
    torch.testing.assert_close(run(NPair(), a[order] @ turn, k[order] @ turn).value, run(NPair(), a, k).value)


def test_gradcheck_and_large_lengths_stay_finite():
    pair = raw(5, 3, 1, True), raw(5, 3, 2, True)
    assert torch.autograd.gradcheck(lambda a, k: run(NPair(), a, k, IDS[:5]).value, pair)
    assert torch.autograd.gradgradcheck(lambda a, k: run(NPair(), a, k, IDS[:5]).value, pair)
    x = (100 * unit(N, D, 1)).bfloat16().requires_grad_()
    e = Embeddings.of(speech=x, text=-x.detach(), raw={"speech": x, "text": -x.detach()})
    value = NPair()(e, "speech", "text").value
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()


def test_it_takes_what_is_not_normalised_and_says_where_it_is_missing():
    z = unit(N, D, 1)
    with pytest.raises(UserError, match=r"no raw of 'speech': give Embeddings\.of\(raw="):
        NPair()(Embeddings.of(speech=z, text=z), "speech", "text")
    with pytest.raises(UserError, match=r"NPair: l2: -1 must be at least 0"):
        NPair(l2=-1)
