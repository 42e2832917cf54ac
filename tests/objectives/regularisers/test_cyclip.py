"""CyCLIP against its two N x N formulas, written as loops."""

import pytest
import torch
from dense_reference import unit

from xmodal.batch import Clock, Embeddings
from xmodal.errors import UserError
from xmodal.objectives import CyCLIP

N, D = 6, 4


def loops(a, k):
    """N times the mean of the squared differences, within and across the sides."""
    within = sum((a[i] @ a[j] - k[i] @ k[j]) ** 2 for i in range(N) for j in range(N)) / N**2
    across = sum((a[i] @ k[j] - k[i] @ a[j]) ** 2 for i in range(N) for j in range(N)) / N**2
    return N * within, N * across


def pair():
    return unit(N, D, 1, requires_grad=True), unit(N, D, 2, requires_grad=True)


@pytest.mark.parametrize(("first", "second"), [(0.25, 0.25), (1, 0), (0, 2)])
def test_equals_its_loops_in_value_and_gradient(first, second):
    a, k = pair()
    got = CyCLIP(in_modal=first, cross_modal=second)(Embeddings.of(image=a, text=k), "image", "text")
    within, across = loops(a, k)
    want = first * within + second * across
    torch.testing.assert_close(got.value, want, rtol=1e-10, atol=1e-10)
    mine, theirs = (torch.autograd.grad(x, [a, k], retain_graph=True) for x in (got.value, want))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close((got.parts["in_modal"], got.parts["cross_modal"]), (within.detach(), across.detach()))


def test_sides_that_agree_cost_nothing_also_in_single_precision():
    a = unit(200, 32, 3).float()
    near = torch.nn.functional.normalize(a + 1e-4 * unit(200, 32, 4).float(), dim=1)
    exact = [CyCLIP()(Embeddings.of(image=x, text=y), "image", "text").value for x, y in ((a, a), (a, near))]
    wide = CyCLIP()(Embeddings.of(image=a.double(), text=near.double()), "image", "text").value
    assert float(exact[0]) == 0
    assert float(exact[1]) == pytest.approx(float(wide), rel=1e-3)


def test_rotations_permutations_schedules_and_gradients():
    a, k = pair()
    turn, order = torch.linalg.qr(unit(D, D, 7))[0], torch.randperm(N)
    value = CyCLIP()(Embeddings.of(image=a, text=k), "image", "text").value
    moved = CyCLIP()(Embeddings.of(image=(a @ turn)[order], text=(k @ turn)[order]), "image", "text").value
    torch.testing.assert_close(moved, value)
    fading = CyCLIP(in_modal={"schedule": "linear", "from": 0.5, "to": 0}, cross_modal=0)
    at_half = fading(Embeddings.of(image=a, text=k, clock=Clock(1, 3)), "image", "text")
    torch.testing.assert_close(at_half.value, 0.25 * at_half.parts["in_modal"])
    both = lambda x, y: CyCLIP()(Embeddings.of(image=x, text=y), "image", "text").value  # noqa: E731
    assert torch.autograd.gradcheck(both, (a, k))
    assert torch.autograd.gradgradcheck(both, (a, k))
    with pytest.raises(UserError, match=r"CyCLIP: in_modal: -1 must be at least 0"):
        CyCLIP(in_modal=-1)
