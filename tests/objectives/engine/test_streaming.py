"""The tiled logsumexp against torch.logsumexp of the whole matrix, and against finite differences."""

import pytest
import torch
from dense_reference import unit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from xmodal.objectives.engine.streaming import two_way_logsumexp


def dense(a, k, s):
    S = s * a @ k.T
    return S.logsumexp(1), S.logsumexp(0)


def gradients(outputs, upstream, inputs):
    total = sum((o * u).sum() for o, u in zip(outputs, upstream, strict=True))
    return torch.autograd.grad(total, inputs)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 13),
    m=st.integers(1, 13),
    d=st.integers(1, 6),
    tile=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    scale=st.floats(0.1, 500),
    seed=st.integers(0, 10_000),
)
def test_equals_dense_for_any_tile_and_upstream_gradient(n, m, d, tile, scale, seed):
    a, k = unit(n, d, seed, True), unit(m, d, seed + 1, True)
    s = torch.tensor([scale], dtype=torch.float64, requires_grad=True)
    upstream = [torch.randn(x, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + x)) for x in (n, m)]
    got, want = two_way_logsumexp(a, k, s, tile=tile), dense(a, k, s)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-12)
    for g, w in zip(gradients(got, upstream, (a, k, s)), gradients(want, upstream, (a, k, s)), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize("which", ["rows", "columns", "both"])
def test_gradcheck(which):
    a, k = unit(5, 3, 1, True), unit(7, 3, 2, True)
    s = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)

    def function(a, k, s):
        rows, columns = two_way_logsumexp(a, k, s, tile=(2, 3))
        return {"rows": rows, "columns": columns, "both": (rows, columns)}[which]

    assert torch.autograd.gradcheck(function, (a, k, s))


@pytest.mark.parametrize(("wanted"), [(True, False, False), (False, True, False), (False, False, True)])
def test_each_gradient_alone(wanted):
    a, k = unit(6, 4, 1, wanted[0]), unit(9, 4, 2, wanted[1])
    s = torch.tensor([20.0], dtype=torch.float64, requires_grad=wanted[2])
    inputs = [x for x, w in zip((a, k, s), wanted, strict=True) if w]
    upstream = unit(6, 1, 3).squeeze(1), unit(9, 1, 4).squeeze(1)
    got = gradients(two_way_logsumexp(a, k, s, tile=(4, 4)), upstream, inputs)
    want = gradients(dense(a, k, s), upstream, inputs)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 0), (0, 0)])
def test_a_sum_over_nothing(n, m):
    a = torch.zeros(n, 3, requires_grad=True)
    k = torch.zeros(m, 3, requires_grad=True)
    s = torch.tensor([100.0], requires_grad=True)
    rows, columns = two_way_logsumexp(a, k, s)
    assert rows.tolist() == [-float("inf")] * n
    assert columns.tolist() == [-float("inf")] * m
    gradient = torch.autograd.grad((rows, columns), (a, k, s), (torch.ones(n), torch.ones(m)))
    assert [tuple(g.shape) for g in gradient] == [(n, 3), (m, 3), (1,)]
    assert all(bool((g == 0).all()) for g in gradient)


@pytest.mark.parametrize("opposite", ["some rows", "some columns", "all"])
def test_underflowing_sums_in_fp32_at_scale_100(opposite):
    """Embeddings opposite to everything on the other side: exp(-200) is zero in fp32."""
    direction = unit(1, 8, 0)

    def near(x, n, seed):
        return torch.nn.functional.normalize(x + 0.3 * unit(n, 8, seed), dim=1).float().double()

    a64 = near(-direction, 14, 1) if opposite == "all" else torch.cat([near(-direction, 3, 1), near(direction, 11, 2)])
    k64 = near(direction, 9, 3)
    if opposite == "some columns":
        a64, k64 = k64, a64
    upstream = unit(len(a64), 1, 5).squeeze(1), unit(len(k64), 1, 6).squeeze(1)
    results = []
    for dtype in (torch.float32, torch.float64):
        a, k = a64.to(dtype).requires_grad_(), k64.to(dtype).requires_grad_()
        s = torch.tensor([100.0], dtype=dtype, requires_grad=True)
        out = two_way_logsumexp(a, k, s, tile=(5, 4)) if dtype == torch.float32 else dense(a, k, s)
        up = [u.to(dtype) for u in upstream]
        results.append((*(o.detach() for o in out), *gradients(out, up, (a, k, s))))
    least = [float(x.min()) for x in results[1][:2]]
    assert (least[0] < 0, least[1] < 0) == (opposite != "some columns", opposite != "some rows")  # exp(LSE - 100) is 0
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("scale", [14.3, 59.9, 60.0, 60.1, 100.0])
@pytest.mark.parametrize("upstream", [1e-20, 1e-6, 1e20])
def test_upstream_gradients_of_any_size_in_fp32(scale, upstream):
    k64 = unit(30, 16, 2)
    a64 = torch.nn.functional.normalize(k64 + 0.1 * unit(30, 16, 1), dim=1)  # the logits reach the scale
    results = []
    for dtype in (torch.float32, torch.float64):
        a, k, s = a64.to(dtype).requires_grad_(), k64.to(dtype).requires_grad_(), torch.tensor([scale], dtype=dtype)
        s.requires_grad_()
        rows, columns = two_way_logsumexp(a, k, s) if dtype == torch.float32 else dense(a, k, s)
        results.append(torch.autograd.grad((rows.sum() + columns.sum()) * upstream, (a, k, s)))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got.double() / upstream, want / upstream, rtol=1e-5, atol=1e-5 * scale)


def test_norms_may_differ():
    a, k = unit(6, 4, 1) * torch.tensor([[0.01], [1], [5], [30], [2], [1]]).double(), unit(5, 4, 2) * 3
    s = torch.tensor([10.0], dtype=torch.float64)
    torch.testing.assert_close(two_way_logsumexp(a, k, s), dense(a, k, s), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_inputs_are_summed_in_fp32(dtype):
    a, k = unit(40, 16, 1).to(dtype).requires_grad_(), unit(30, 16, 2).to(dtype)
    s = torch.tensor([100.0], requires_grad=True)
    rows, columns = two_way_logsumexp(a, k, s)
    assert rows.dtype == columns.dtype == torch.float32
    want = dense(a.double(), k.double(), s.double())
    torch.testing.assert_close(rows.double(), want[0], rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(columns.double(), want[1], rtol=1e-6, atol=1e-5)
    rows.sum().backward()
    assert a.grad.dtype == dtype
    assert bool(a.grad.isfinite().all())


def test_autocast_does_not_touch_it():
    a, k, s = unit(12, 8, 1).float().requires_grad_(), unit(12, 8, 2).float(), torch.tensor([100.0])
    plain = two_way_logsumexp(a, k, s)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = two_way_logsumexp(a, k, s)
        grad_inside = torch.autograd.grad(inside[0].sum(), a)
    torch.testing.assert_close(inside, plain, rtol=0, atol=0)
    torch.testing.assert_close(grad_inside, torch.autograd.grad(plain[0].sum(), a), rtol=0, atol=0)


def test_nothing_larger_than_inputs_or_tile_is_made():
    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for x in out if isinstance(out, tuple | list) else [out]:
                if isinstance(x, torch.Tensor):
                    self.elements = max(self.elements, x.numel())
            return out

    a, k = unit(600, 4, 1, True), unit(500, 4, 2, True)
    s = torch.tensor([10.0], dtype=torch.float64, requires_grad=True)
    with Largest() as seen:
        rows, columns = two_way_logsumexp(a, k, s, tile=(16, 32))
        (rows.sum() + columns.sum()).backward()
    assert seen.elements == 600 * 4
