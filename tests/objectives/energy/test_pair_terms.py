"""What the pair objectives share: blocks, the order of the rows and a rotation change nothing; gradients are right."""

import pytest
import torch
from dense_reference import unit
from torch.nn.functional import normalize

from xmodal.batch import Embeddings
from xmodal.objectives import VSEPP, Pair, Triplet
from xmodal.objectives.engine import tiles

N, D = 6, 5


@pytest.mark.parametrize("objective", [Pair(margin=1.4), Triplet(margin=0.7), VSEPP()], ids=lambda o: o.spec.kind)
def test_blocks_order_and_rotation_change_nothing_and_gradcheck(objective, monkeypatch):
    x, y = unit(N, D, 1, True), unit(N, D, 2, True)

    def value(first, second):
        e = Embeddings.of(speech=normalize(first, dim=1), text=normalize(second, dim=1))
        return objective(e, "speech", "text").value

    whole, order = value(x, y), torch.tensor([3, 0, 4, 1, 5, 2])
    rotation = torch.linalg.qr(unit(D, D, 9))[0]
    torch.testing.assert_close(value(x[order], y[order]), whole)
    torch.testing.assert_close(value(x @ rotation, y @ rotation), whole)
    assert torch.autograd.gradcheck(value, (x, y))
    monkeypatch.setattr(tiles, "BLOCK", 2 * N)
    parts = value(x, y)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts, (x, y)), torch.autograd.grad(whole, (x, y)))
