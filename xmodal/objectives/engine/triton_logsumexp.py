"""The tile loop of `streaming.py` as fused GPU kernels: a tile of logits lives in registers and is never written.

Input: a [n, D], k [m, D] (fp32 or bf16), the scale and a shift of the logits. Output: the sums of the shared
exponential over rows and columns, or `sum_j E_ij (r_i + c_j) k_j`. Products are made in the inputs' type (fp32: TF32
is off), sums in fp32. Column sums are added up by atomics, so their last bits may differ between runs.

Axes: n rows of a, m rows of k, D embedding.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.errors import TritonError

FAILURES = (TritonError, RuntimeError)  # a kernel that does not compile, or does not fit the card
ROWS, COLUMNS, DEPTH = 64, 64, 64  # of a program's tile: logits are ROWS x COLUMNS, read DEPTH features at a time


@triton.jit
def _tile(a, k, i, j, n, m, D: tl.constexpr, depth: tl.constexpr):  # type: ignore[no-untyped-def]
    """a_i . k_j of one tile."""
    total = tl.zeros((i.shape[0], j.shape[0]), dtype=tl.float32)
    for start in range(0, D, depth):
        d = start + tl.arange(0, depth)
        left = tl.load(a + i[:, None] * D + d[None, :], mask=(i[:, None] < n) & (d[None, :] < D), other=0.0)
        right = tl.load(k + j[None, :] * D + d[:, None], mask=(j[None, :] < m) & (d[:, None] < D), other=0.0)
        total = tl.dot(left, right, total, input_precision="ieee")
    return total


@triton.jit
def _sums_kernel(  # type: ignore[no-untyped-def]
    a, k, scalars, row_sums, column_sums, n, m,
    D: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    s, shift = tl.load(scalars), tl.load(scalars + 1)
    i = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    mine = tl.zeros((rows,), dtype=tl.float32)
    for start in range(0, m, columns):
        j = start + tl.arange(0, columns).to(tl.int64)
        e = tl.exp(s * _tile(a, k, i, j, n, m, D, depth) - shift)
        e = tl.where((i[:, None] < n) & (j[None, :] < m), e, 0.0)
        mine += tl.sum(e, 1)
        tl.atomic_add(column_sums + j, tl.sum(e, 0), mask=j < m)
    tl.store(row_sums + i, mine, mask=i < n)


@triton.jit
def _pull_kernel(  # type: ignore[no-untyped-def]
    a, k, scalars, r, c, out, n, m,
    D: tl.constexpr, WIDTH: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    s, shift = tl.load(scalars), tl.load(scalars + 1)
    i = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    d = tl.arange(0, WIDTH)
    r_i = tl.load(r + i, mask=i < n, other=0.0)
    total = tl.zeros((rows, WIDTH), dtype=tl.float32)
    for start in range(0, m, columns):
        j = start + tl.arange(0, columns).to(tl.int64)
        c_j = tl.load(c + j, mask=j < m, other=0.0)
        e = tl.exp(s * _tile(a, k, i, j, n, m, D, depth) - shift) * (r_i[:, None] + c_j[None, :])
        e = tl.where(j[None, :] < m, e, 0.0)
        right = tl.load(k + j[:, None] * D + d[None, :], mask=(j[:, None] < m) & (d[None, :] < D), other=0.0)
        total = tl.dot(e.to(right.dtype), right, total, input_precision="ieee")
    tl.store(out + i[:, None] * D + d[None, :], total, mask=(i[:, None] < n) & (d[None, :] < D))


def shared_sums(a: Tensor, k: Tensor, s: Tensor, shift: float) -> tuple[Tensor, Tensor]:
    """(sum_j E_ij [n], sum_i E_ij [m]) in fp32, E = exp(s a_i.k_j - shift)."""
    a, k = _operands(a, k)
    row_sums = torch.zeros(len(a), device=a.device)
    column_sums = torch.zeros(len(k), device=a.device)
    if len(a) and len(k):
        _sums_kernel[(triton.cdiv(len(a), ROWS),)](
            a, k, _scalars(s, shift), row_sums, column_sums, len(a), len(k), a.shape[1], ROWS, COLUMNS, DEPTH
        )
    return row_sums, column_sums


def shared_pull(a: Tensor, k: Tensor, s: Tensor, shift: float, r: Tensor, c: Tensor) -> Tensor:
    """`sum_j E_ij (r_i + c_j) k_j` [n, D] in fp32; r [n], c [m]. For the other side's gradient swap the sides."""
    a, k = _operands(a, k)
    out = torch.zeros(a.shape, device=a.device)
    if len(a) and len(k):
        width = a.shape[1]
        _pull_kernel[(triton.cdiv(len(a), ROWS),)](
            a, k, _scalars(s, shift), r.float().contiguous(), c.float().contiguous(), out, len(a), len(k),
            width, triton.next_power_of_2(max(width, 16)), ROWS, COLUMNS, DEPTH,
        )  # fmt: skip
    return out


def _scalars(s: Tensor, shift: float) -> Tensor:
    return torch.stack([s.reshape(()).float(), s.new_tensor(shift, dtype=torch.float32)])


def _operands(a: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Both contiguous and of one type; Triton's interpreter, on a CPU, multiplies no bf16."""
    dtype = torch.promote_types(a.dtype, k.dtype) if a.is_cuda else torch.float32
    return a.to(dtype).contiguous(), k.to(dtype).contiguous()
