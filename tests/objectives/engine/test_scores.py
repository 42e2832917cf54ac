"""Scores: Euclidean distances in fp32, far from the origin and at every size; no autocast in an objective."""

import pytest
import torch
from dense_reference import unit

from xmodal.batch import Embeddings
from xmodal.config.kinds import OBJECTIVES
from xmodal.objectives import BCE, JSD, NCE, NWJ, VSEPP, DonskerVaradhan, Margin, Pair, Triplet
from xmodal.objectives.engine.scores import Scores

N, D = 9, 6


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("offset", [0, 1000])
def test_distances_far_from_the_origin_do_not_cancel(size: float, offset: float) -> None:
    a, k = (size * (unit(N, D, seed) + offset).float() for seed in (1, 2))
    k[0] = a[0]
    want = -torch.cdist(a.double(), k.double())
    got = Scores("euclidean")
    torch.testing.assert_close(got.block(a, k).double(), want, rtol=1e-4, atol=1e-4 * size)
    torch.testing.assert_close(got.pairs(a, k).double(), want.diagonal(), rtol=1e-5, atol=0)
    assert float(got.block(a, k)[0, 0]) == 0


def test_where_there_is_no_distance_the_gradient_is_0() -> None:
    a = unit(N, D, 1, True)
    score = Scores("euclidean")
    for value in (score.block(a, a.detach()).diagonal().sum(), score.pairs(a, a.detach()).sum()):
        assert not torch.autograd.grad(value, a)[0].any()


@pytest.mark.parametrize("objective", [Pair, Triplet, Margin, VSEPP, NCE, BCE, DonskerVaradhan, JSD, NWJ])
def test_autocast_changes_no_loss(objective: type) -> None:
    a, k = unit(N, D, 1).float(), unit(N, D, 2).float()
    term, given = objective(), Embeddings.of(speech=a, text=k)
    assert objective in [OBJECTIVES.find(kind) for kind in OBJECTIVES.own]
    want = term(given, "speech", "text")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = term(given, "speech", "text")
    assert got.value.dtype == torch.float32
    torch.testing.assert_close(got.value, want.value, rtol=0, atol=0)
