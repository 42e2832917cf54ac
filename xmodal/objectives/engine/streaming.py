"""Logsumexp over rows and columns of a logit matrix that is never stored.

Input: embeddings a [n, D] and k [m, D], and a scale s. Output: `rows_i = log sum_j exp(s a_i.k_j)` and
`columns_j = log sum_i exp(s a_i.k_j)`, differentiable in a, k and s, in O((n + m) D) memory.

How: the logits are bounded by `b = s max|a| max|k|` (s itself for unit-norm rows), so one exponential `exp(S - h)` of
a tile serves its rows and its columns, forward and backward; the shift h = b - 60 keeps it finite and is neither needed
nor subtracted up to b = 60. Where a sum comes so close to underflow that lost terms could matter, that row or column is
done again with its own maximum. The backward pass recomputes each tile once and forms `dS = E * (r_i + c_j)`; the
scale's gradient is `sum_i a_i . (dS k)_i` and costs no further pass. On a GPU a fused kernel takes the loop's place
where it was measured to be faster (`fused.py`).

Axes: n rows of a, m rows of k, D embedding.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xmodal.objectives.engine.fused import fused_kernels
from xmodal.objectives.engine.second_order import is_twice_differentiable
from xmodal.objectives.engine.tiles import (
    CUDA_TILE,
    Tile,
    bound_of,
    buffer_for,
    exponentials,
    shift_of,
    spans,
    sum_type,
    tile_for,
    underflowing,
)


def two_way_logsumexp(a: Tensor, k: Tensor, scale: Tensor, *, tile: Tile | None = None) -> tuple[Tensor, Tensor]:
    """Row and column logsumexp of `scale * a @ k.T` in one pass: ([n], [m]), in fp32 or the inputs' wider type.

    `scale` has one element. A sum over nothing is -inf. `tile` is (rows, columns) of the logits held at a time. The
    gradient is exact for any upstream gradient on either output, and can be taken once (no double backward).

    Example:
        rows, columns = two_way_logsumexp(a, k, scale)
        loss = (rows.mean() + columns.mean()) / 2 - (scale * (a * k).sum(-1)).mean()
    """
    if is_twice_differentiable():
        A, K, s = _widened(a, k, scale)
        logits = (A * s) @ K.T
        return logits.logsumexp(1), logits.logsumexp(0)
    rows, columns = _LogSumExp.apply(a, k, scale, tile or tile_for(a))
    return rows, columns


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, k: Tensor, scale: Tensor, tile: Tile) -> tuple[Tensor, Tensor]:
        with torch.autocast(a.device.type, enabled=False):
            A, K, s = _widened(a, k, scale)
            shift = shift_of(bound_of(A, K, s))
            kernels = fused_kernels(a, k, _tiled)
            sums = kernels.shared_sums(a, k, s, shift) if kernels else _shared_sums(A * s, K, shift, tile)
            row_lse, column_lse = (x.log().add_(shift) for x in sums)
            low = underflowing(row_lse, shift, len(k))
            if len(low):
                row_lse[low] = _exact_rows(A[low] * s, K, tile)
            low = underflowing(column_lse, shift, len(a))
            if len(low):
                column_lse[low] = _exact_rows(K[low] * s, A, tile)
        ctx.save_for_backward(a, k, scale, row_lse, column_lse)
        ctx.tile, ctx.kernels = tile, kernels
        return row_lse, column_lse

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, row_grad: Tensor | None, column_grad: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        a, k, scale, row_lse, column_lse = ctx.saved_tensors
        want_a, want_k, want_s = ctx.needs_input_grad[:3]
        with torch.autocast(a.device.type, enabled=False):
            A, K, s = _widened(a, k, scale)
            shift = shift_of(bound_of(A, K, s))
            unit = _largest(row_grad, column_grad)  # divided out, else exp(-60) times a small one is zero in fp32
            row_grad, column_grad = (None if x is None else x / unit for x in (row_grad, column_grad))
            r, low_rows = _factors(row_grad, row_lse, shift, len(k))
            c, low_columns = _factors(column_grad, column_lse, shift, len(a))
            # dA without its factor s is also what the scale's gradient is made of
            of_a, of_k = want_a or (want_s and not want_k), want_k
            if ctx.kernels:
                dA = ctx.kernels.shared_pull(a, k, s, shift, r, c) if of_a else None
                dK = ctx.kernels.shared_pull(k, a, s, shift, c, r) if of_k else None
            else:
                dA, dK = torch.zeros_like(A) if of_a else None, torch.zeros_like(K) if of_k else None
                _add_shared(A, K, s, shift, r, c, dA, dK, ctx.tile)
            if len(low_rows) and row_grad is not None:
                _add_exact(A, K, s, low_rows, row_lse, row_grad, dA, dK, ctx.tile)
            if len(low_columns) and column_grad is not None:
                _add_exact(K, A, s, low_columns, column_lse, column_grad, dK, dA, ctx.tile)

            ds = None
            if want_s:
                ds = torch.sum(A * dA) if dA is not None else torch.sum(K * dK)  # type: ignore[operator]
                ds = (unit * ds).reshape(scale.shape).to(scale.dtype)
            grad_a = dA.mul_(s * unit).to(a.dtype) if want_a and dA is not None else None
            grad_k = dK.mul_(s * unit).to(k.dtype) if dK is not None else None
        return grad_a, grad_k, ds, None


def _widened(a: Tensor, k: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The inputs in the type the sums are made in: fp32, or float64 where one of the embeddings is."""
    dtype = sum_type(a, k)
    return a.to(dtype), k.to(dtype), scale.reshape(()).to(dtype)


def _tiled(a: Tensor, k: Tensor) -> None:
    """The tile loop both ways, with frozen keys: what a fused kernel has to beat."""
    A, K, one = _widened(a, k, a.new_ones(()))
    rows, columns = _shared_sums(A, K, 0.0, CUDA_TILE)
    _add_shared(A, K, one, 0.0, rows, columns, torch.zeros_like(A), None, CUDA_TILE)


def _shared_sums(A_s: Tensor, K: Tensor, shift: float, tile: Tile) -> tuple[Tensor, Tensor]:
    """(sum_j E_ij [n], sum_i E_ij [m]) with E = exp(S - shift)."""
    row_sums, column_sums = A_s.new_zeros(len(A_s)), A_s.new_zeros(len(K))
    buffer = buffer_for(A_s, len(A_s), len(K), tile)
    for i in spans(len(A_s), tile[0]):
        for j in spans(len(K), tile[1]):
            E = exponentials(A_s[i], K[j], shift, buffer)
            row_sums[i] += E.sum(1)
            column_sums[j] += E.sum(0)
    return row_sums, column_sums


def _exact_rows(A_s: Tensor, K: Tensor, tile: Tile) -> Tensor:
    """Row logsumexp with each row's own maximum."""
    lse = A_s.new_full((len(A_s),), -math.inf)
    for i in spans(len(A_s), tile[0]):
        for j in spans(len(K), tile[1]):
            lse[i] = torch.logaddexp(lse[i], torch.logsumexp(A_s[i] @ K[j].T, dim=1))
    return lse


def _largest(*gradients: Tensor | None) -> Tensor | float:
    """The largest magnitude among the upstream gradients; 1 where there is none."""
    peaks = [x.abs().amax() for x in gradients if x is not None and len(x)]
    if not peaks:
        return 1.0
    peak = torch.stack(peaks).amax()
    return torch.where(peak > 0, peak, 1.0)


def _factors(grad: Tensor | None, lse: Tensor, shift: float, terms: int) -> tuple[Tensor, Tensor]:
    """(upstream gradient / sum of shared exponentials, 0 where that sum underflows; indices where it does)."""
    if grad is None or not terms:
        return torch.zeros_like(lse), lse.new_empty(0, dtype=torch.long)
    low = underflowing(lse, shift, terms)
    factors = grad.to(lse.dtype) * (shift - lse).exp()
    factors[low] = 0
    return factors, low


def _add_shared(
    A: Tensor,
    K: Tensor,
    s: Tensor,
    shift: float,
    r: Tensor,
    c: Tensor,
    dA: Tensor | None,
    dK: Tensor | None,
    tile: Tile,
) -> None:
    """Add `dS k` to dA and `dS^T a` to dK, with dS = E * (r_i + c_j)."""
    A_s, buffer, factor = A * s, buffer_for(A, len(A), len(K), tile), buffer_for(A, len(A), len(K), tile)
    for i in spans(len(A), tile[0]):
        for j in spans(len(K), tile[1]):
            E = exponentials(A_s[i], K[j], shift, buffer)
            E.mul_(torch.add(r[i].unsqueeze(1), c[j], out=factor[: E.numel()].view_as(E)))
            if dA is not None:
                dA[i].addmm_(E, K[j])
            if dK is not None:
                dK[j].addmm_(E.T, A[i])


def _add_exact(
    A: Tensor,
    K: Tensor,
    s: Tensor,
    low: Tensor,
    lse: Tensor,
    grad: Tensor,
    dA: Tensor | None,
    dK: Tensor | None,
    tile: Tile,
) -> None:
    """The same for the rows `low` of A alone, from their own logsumexp."""
    for part in low.split(tile[0]):
        rows, weight = A[part], grad[part].to(A.dtype).unsqueeze(1)
        for j in spans(len(K), tile[1]):
            dS = (rows * s @ K[j].T).sub_(lse[part].unsqueeze(1)).exp_().mul_(weight)
            if dA is not None:
                dA.index_add_(0, part, dS @ K[j])
            if dK is not None:
                dK[j].addmm_(dS.T, rows)
