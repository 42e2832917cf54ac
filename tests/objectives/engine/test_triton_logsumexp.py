"""The fused kernels, run by Triton's interpreter on a CPU, and on a GPU where there is one."""

import pytest
import torch
from dense_reference import unit

from xmodal.objectives.engine import streaming
from xmodal.objectives.engine.streaming import two_way_logsumexp

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    """The kernels in the tile loop's place."""
    from xmodal.objectives.engine import triton_logsumexp

    monkeypatch.setattr(streaming, "fused_kernels", lambda *_: triton_logsumexp)
    return triton_logsumexp


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("n", "m", "d"), [(70, 130, 48), (5, 3, 16), (64, 64, 100), (1, 1, 7)])
@pytest.mark.parametrize("scale", [5.0, 100.0])
def test_value_and_gradients_equal_dense(n, m, d, dtype, scale):
    a, k = (unit(x, d, seed).to(DEVICE, dtype).requires_grad_() for x, seed in ((n, 1), (m, 2)))
    s = torch.tensor([scale], device=DEVICE, requires_grad=True)
    upstream = torch.rand(n, device=DEVICE), torch.rand(m, device=DEVICE)
    wide = [x.detach().double().requires_grad_() for x in (a, k, s)]
    logits = wide[2] * wide[0] @ wide[1].T
    want = torch.autograd.grad((logits.logsumexp(1), logits.logsumexp(0)), wide, [u.double() for u in upstream])
    rows, columns = two_way_logsumexp(a, k, s)
    loose = {"rtol": 2e-2, "atol": 2e-2 * scale} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5 * scale}
    torch.testing.assert_close(rows.double(), logits.logsumexp(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(columns.double(), logits.logsumexp(0), rtol=1e-4, atol=1e-4)
    for got, exact in zip(torch.autograd.grad((rows, columns), (a, k, s), upstream), want, strict=True):
        torch.testing.assert_close(got.double(), exact, **loose)


def test_a_sum_over_nothing(kernels):
    a, k = torch.zeros(0, 16, device=DEVICE), torch.zeros(3, 16, device=DEVICE)
    one = torch.ones((), device=DEVICE)
    assert [x.tolist() for x in kernels.shared_sums(a, k, one, 1.0)] == [[], [0, 0, 0]]
    assert kernels.shared_pull(k, a, one, 1.0, torch.ones(3, device=DEVICE), torch.ones(0, device=DEVICE)).sum() == 0


def test_frozen_keys_get_no_gradient_and_the_scale_gets_its_own():
    a, k = unit(20, 16, 1).float().to(DEVICE), unit(30, 16, 2).float().to(DEVICE)
    s = torch.tensor([10.0], device=DEVICE, requires_grad=True)
    rows, _ = two_way_logsumexp(a, k, s)
    wide = torch.tensor([10.0], dtype=torch.float64, device=DEVICE, requires_grad=True)
    want = torch.autograd.grad((wide * a.double() @ k.double().T).logsumexp(1).sum(), wide)[0]
    torch.testing.assert_close(torch.autograd.grad(rows.sum(), s)[0].double(), want, rtol=1e-5, atol=1e-5)
