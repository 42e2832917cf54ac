"""The streamed losses on a card: the fused kernels and the tile loop against dense float64, fp32 and bf16 inputs."""

from types import ModuleType

import pytest
import torch
from dense_reference import unit
from torch import Tensor

from xmodal.objectives.engine import streaming
from xmodal.objectives.engine.pairwise_sigmoid import softplus_sum
from xmodal.objectives.engine.streaming import two_way_logsumexp

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
DEVICE = "cuda"
TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


def inputs(n: int, m: int, d: int, dtype: torch.dtype, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Two sides of unit norm and a scale, all with gradients."""
    a, k = (unit(x, d, seed).to(DEVICE, dtype).requires_grad_() for x, seed in ((n, 1), (m, 2)))
    return a, k, torch.tensor([scale], device=DEVICE, requires_grad=True)


def fused() -> ModuleType:
    return pytest.importorskip("xmodal.objectives.engine.triton_logsumexp")


def results(a: Tensor, k: Tensor, s: Tensor, upstream: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Both sums, and the gradients of a, k and s, in float64."""
    sums = two_way_logsumexp(a, k, s)
    return [x.detach().double() for x in (*sums, *torch.autograd.grad(sums, (a, k, s), upstream))]


def results_if_it_fits(a: Tensor, k: Tensor, s: Tensor, upstream: tuple[Tensor, Tensor]) -> list[Tensor]:
    """The same; skips where a kernel needs more registers or shared memory than the card has (the tile loop serves)."""
    from triton.errors import TritonError

    try:
        return results(a, k, s, upstream)
    except TritonError as error:
        pytest.skip(f"D = {a.shape[1]}, {a.dtype}: {error}")


def expected(a: Tensor, k: Tensor, s: Tensor, upstream: tuple[Tensor, Tensor]) -> list[Tensor]:
    """The same with the matrix of logits, in float64, of the same (rounded) inputs."""
    wide = [x.detach().double().requires_grad_() for x in (a, k, s)]
    logits = wide[2] * wide[0] @ wide[1].T
    sums = logits.logsumexp(1), logits.logsumexp(0)
    return [*sums, *torch.autograd.grad(sums, wide, [u.double() for u in upstream])]


def assert_near(found: list[Tensor], exact: list[Tensor], relative: float) -> None:
    """Sums to 1e-4; gradients to `relative` of their norm."""
    for name, x, y in zip(("rows", "columns"), found[:2], exact[:2], strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    for name, x, y in zip(("da", "dk", "ds"), found[2:], exact[2:], strict=True):
        assert (x - y).norm() <= relative * y.norm(), f"{name}: off by {float((x - y).norm() / y.norm()):.1e}"


@TYPES
@pytest.mark.parametrize("way", ["fused", "tiles"])
@pytest.mark.parametrize(("n", "m", "d"), [(1000, 1500, 512), (257, 64, 384), (3, 5, 16), (512, 512, 768)])
@pytest.mark.parametrize("scale", [14.3, 100.0])
def test_value_and_gradients_equal_dense(
    n: int, m: int, d: int, scale: float, way: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = fused() if way == "fused" else None
    monkeypatch.setattr(streaming, "fused_kernels", lambda *_: kernels)
    given = inputs(n, m, d, dtype, scale)
    upstream = torch.rand(n, device=DEVICE), torch.rand(m, device=DEVICE)
    found = results_if_it_fits(*given, upstream) if kernels else results(*given, upstream)
    assert_near(found, expected(*given, upstream), 1e-4 if dtype == torch.float32 else 1e-2)


@TYPES
def test_fused_kernels_equal_the_tile_loop_over_many_tiles(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows and keys than one tile of the loop has: 8,192."""
    given, kernels = inputs(9000, 17000, 512, dtype, 14.3), fused()
    upstream = torch.rand(9000, device=DEVICE), torch.rand(17000, device=DEVICE)
    monkeypatch.setattr(streaming, "fused_kernels", lambda *_: None)
    tiles = results(*given, upstream)
    monkeypatch.setattr(streaming, "fused_kernels", lambda *_: kernels)
    assert_near(results_if_it_fits(*given, upstream), tiles, 1e-4 if dtype == torch.float32 else 1e-2)


@TYPES
@pytest.mark.parametrize("d", [256, 512, 1024])
def test_whichever_way_a_timing_chooses_is_right(d: int, dtype: torch.dtype) -> None:
    """Above the size from which a timing chooses; a kernel that does not fit the card is not chosen."""
    given = inputs(3000, 3000, d, dtype, 14.3)
    upstream = torch.full((3000,), 1 / 3000, device=DEVICE), torch.full((3000,), 1 / 3000, device=DEVICE)
    assert_near(results(*given, upstream), expected(*given, upstream), 1e-4 if dtype == torch.float32 else 1e-2)


@TYPES
def test_the_sum_of_softplus_equals_dense(dtype: torch.dtype) -> None:
    a, k, s = inputs(700, 900, 384, dtype, 10.0)
    b = torch.tensor([-10.0], device=DEVICE, requires_grad=True)
    total = softplus_sum(a, k, s, b)
    wide = [x.detach().double().requires_grad_() for x in (a, k, s, b)]
    exact = torch.nn.functional.softplus(wide[2] * wide[0] @ wide[1].T + wide[3]).sum()
    torch.testing.assert_close(total.double(), exact, rtol=1e-5, atol=0)
    relative = 1e-4 if dtype == torch.float32 else 1e-2
    found = torch.autograd.grad(total, (a, k, s, b))
    for name, x, y in zip("aksb", found, torch.autograd.grad(exact, wide), strict=True):
        assert (x.double() - y).norm() <= relative * y.norm(), f"d{name}"


def test_autocast_around_a_loss_rounds_no_logit() -> None:
    """Training in bf16 runs losses under autocast; logits of fp32 embeddings stay fp32."""
    given = inputs(600, 600, 256, torch.float32, 100.0)
    upstream = torch.ones(600, device=DEVICE), torch.ones(600, device=DEVICE)
    with torch.autocast("cuda", torch.bfloat16):
        found = results(*given, upstream)
    assert_near(found, expected(*given, upstream), 1e-4)
