"""A matrix of logits in pieces: what every streamed loss needs. Axes: n rows of a, m rows of k, D embedding."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

Tile = tuple[int, int]  # rows and columns of the logits held at a time

CPU_TILE: Tile = (512, 1024)  # 2 MB in fp32: stays in cache
CUDA_TILE: Tile = (8192, 8192)
BLOCK = 2**22  # elements of a few whole rows of the logits, or of weights, held at a time
HEADROOM = 60.0  # exp of it, a million million times over, is finite in fp32


def tile_for(a: Tensor) -> Tile:
    """The tile of a's device."""
    return CUDA_TILE if a.is_cuda else CPU_TILE


def spans(n: int, step: int) -> Iterator[slice]:
    """Slices of at most `step` that cover n."""
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def row_blocks(n: int, columns: int, block: int | None = None) -> Iterator[slice]:
    """Slices of n rows, each of at most `block` elements (BLOCK; one row at least)."""
    step = max(1, (block or BLOCK) // max(columns, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def pair_blocks(i: Tensor, j: Tensor, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The pairs in parts, for which `width` numbers a pair are at most BLOCK."""
    step = max(1, BLOCK // max(width, 1))
    yield from zip(i.split(step), j.split(step), strict=True)  # of no pairs, one empty part


def buffer_for(a: Tensor, n: int, m: int, tile: Tile) -> Tensor:
    """Room for one tile of n x m logits, in a's type and place."""
    return a.new_empty(min(tile[0], n) * min(tile[1], m))


def product(a: Tensor, k: Tensor, buffer: Tensor) -> Tensor:
    """a k^T, in `buffer`."""
    return torch.mm(a, k.T, out=buffer[: len(a) * len(k)].view(len(a), len(k)))


def sum_type(*tensors: Tensor) -> torch.dtype:
    """The type the sums are made in: fp32, or float64 where one of the tensors is."""
    dtype = torch.float32
    for x in tensors:
        dtype = torch.promote_types(dtype, x.dtype)
    return dtype


def bound_of(A: Tensor, K: Tensor, s: Tensor) -> Tensor:
    """An upper bound on every |s a.k|: s itself for unit-norm rows."""
    if not len(A) or not len(K):
        return s.abs()
    return s.abs() * torch.linalg.vector_norm(A, dim=1).amax() * torch.linalg.vector_norm(K, dim=1).amax()


def shift_of(bound: Tensor) -> float:
    """What to take from logits of at most `bound` before their exponential: nothing up to HEADROOM."""
    return max(0.0, float(bound) - HEADROOM)


def exponentials(a: Tensor, k: Tensor, shift: float, buffer: Tensor) -> Tensor:
    """exp(a k^T - shift), in `buffer`."""
    S = product(a, k, buffer)
    return (S.sub_(shift) if shift else S).exp_()


def underflowing(lse: Tensor, shift: float, terms: int) -> Tensor:
    """Places of the logsumexps that `exp(S - shift)` may not have carried. A sum over nothing stays what it is.

    Safe is a sum so large that all its terms may have been flushed to zero and still not show in it.
    """
    if not terms:
        return lse.new_empty(0, dtype=torch.long)
    info = torch.finfo(lse.dtype)
    return (lse - shift < math.log(terms * info.tiny / info.eps)).nonzero().squeeze(1)
