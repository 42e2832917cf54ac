"""Whether a fused GPU kernel takes the place of the tile loop: only where it was measured to be faster.

On CUDA the first large matrix of each kind (types, D) is timed both ways, on a part of it; a kernel
that fails to compile is not used. Nothing here runs on a CPU, where tests run the kernels in Triton's interpreter.
"""

import functools
import logging
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

SMALLEST = 2**22  # logits below which the tile loop is one tile, and stays
TRIAL = 8192  # rows and keys the two are timed on

log = logging.getLogger(__name__)


def fused_kernels(a: Tensor, k: Tensor, tiled: Callable[[Tensor, Tensor], None]) -> ModuleType | None:
    """The module of fused kernels where they are faster than `tiled` on these embeddings, else none.

    `tiled(a, k)` is the tile loop, forward and backward, on a [n, D] and k [m, D].
    """
    if not a.is_cuda or len(a) * len(k) < SMALLEST or a.dtype == torch.float64 or k.dtype == torch.float64:
        return None
    kernels = _kernels()
    if kernels is None:
        return None
    kind = (a.dtype, k.dtype, a.shape[1], a.device)
    if kind not in _FASTER:
        _FASTER[kind] = _is_faster(kernels, a[:TRIAL].detach(), k[:TRIAL].detach(), tiled)
        log.info("logits of %s: %s", kind, "fused kernel" if _FASTER[kind] else "tile loop")
    return kernels if _FASTER[kind] else None


_FASTER: dict[tuple[torch.dtype, torch.dtype, int, torch.device], bool] = {}


@functools.cache
def _kernels() -> ModuleType | None:
    try:
        from xmodal.objectives.engine import triton_logsumexp
    except ImportError:  # torch without triton
        return None
    return triton_logsumexp


def _is_faster(kernels: ModuleType, a: Tensor, k: Tensor, tiled: Callable[[Tensor, Tensor], None]) -> bool:
    one = a.new_ones((), dtype=torch.float32)

    def fused() -> None:
        rows, columns = kernels.shared_sums(a, k, one, 0.0)
        kernels.shared_pull(a, k, one, 0.0, rows, columns)

    try:
        return _milliseconds(fused) < _milliseconds(lambda: tiled(a, k))
    except kernels.FAILURES as error:
        log.warning("the fused kernel cannot be used here: %s", " ".join(str(error).split())[:200])
        return False


def _milliseconds(work: Callable[[], None]) -> float:
    """The best of three after one that compiles."""
    work()
    times = []
    for _ in range(3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()  # type: ignore[no-untyped-call]
        work()
        end.record()  # type: ignore[no-untyped-call]
        end.synchronize()  # type: ignore[no-untyped-call]
        times.append(start.elapsed_time(end))  # type: ignore[no-untyped-call]
    return min(times)
