"""Collectives with the right gradient. Without an initialised process group every function is the identity.

The convention all objectives follow: each process scales its share of the loss by the number of processes W, and the
backward pass of a collective SUMS the gradients of all processes. Under DDP's averaging of parameter gradients the
result is the gradient of the whole batch, for towers and for temperature, with no further factor.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from xmodal.errors import UserError


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


Result = TypeVar("Result")


def main_first(work: Callable[[], Result], device: torch.device) -> Result:
    """Run `work` on the main process first, then on the others.

    If it raises a `UserError` there, every process ends, and the main one alone says why.

    `device` is where this process's collectives run.
    """
    mistake = result = None
    if rank() == 0:
        try:
            result = work()
        except UserError as error:
            mistake = error
    flag = torch.tensor([float(mistake is not None)], device=device)
    if float(all_gather_rows(flag, [1] * world_size()).sum()):
        raise mistake or UserError("")
    return cast(Result, result) if rank() == 0 else work()


def together(work: Callable[[], Result], device: torch.device) -> Result:
    """Run `work` on every process; all wait for the last. If one raises a `UserError`, all end, and that one says why.

    `device` is where this process's collectives run.
    """
    mistake = result = None
    try:
        result = work()
    except UserError as error:
        mistake = error
    flag = torch.tensor([float(mistake is not None)], device=device)
    failed = all_gather_rows(flag, [1] * world_size())
    if float(failed.sum()):
        raise mistake if mistake is not None and rank() == int(failed.argmax()) else UserError("")
    return cast(Result, result)


def row_counts(x: Tensor) -> list[int]:
    """How many rows each process holds."""
    if world_size() == 1:
        return [len(x)]
    mine = torch.tensor([len(x)], device=x.device)
    counts = [torch.zeros_like(mine) for _ in range(world_size())]
    dist.all_gather(counts, mine)
    return [int(c) for c in counts]


def own_rows(counts: list[int]) -> slice:
    """This process's rows in a gathered tensor."""
    start = sum(counts[: rank()])
    return slice(start, start + counts[rank()])


def all_gather_rows(x: Tensor, counts: list[int]) -> Tensor:
    """Rows of all processes in rank order [sum(counts), ...]; uneven counts allowed; no gradient."""
    if world_size() == 1:
        return x.detach()
    padded = x.new_zeros((max(counts), *x.shape[1:]))
    padded[: len(x)] = x.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


class _Gather(torch.autograd.Function):
    """Gather rows; the backward pass sums every process's gradient and keeps the own rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return all_gather_rows(x, counts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _OwnRowsOfSum.apply(grads[0], ctx.counts), None


class _OwnRowsOfSum(torch.autograd.Function):
    """The adjoint of `_Gather`, and the other way round: so both can be differentiated as often as one likes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        total = x.contiguous().clone()
        dist.all_reduce(total)
        return total[own_rows(counts)]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _Gather.apply(grads[0], ctx.counts), None


class _Sum(torch.autograd.Function):
    """Sum over processes, in the forward and in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _Sum.apply(grads[0])


def gather(x: Tensor, counts: list[int]) -> Tensor:
    """Differentiable gather of rows [n, ...] -> [N, ...]. Every process must call it, even with no rows."""
    if world_size() == 1:
        return x
    return _Gather.apply(x, counts)


def all_sum(x: Tensor) -> Tensor:
    """Differentiable sum over processes."""
    if world_size() == 1:
        return x
    return _Sum.apply(x)


def all_max(x: Tensor) -> Tensor:
    """Largest over processes, element by element; no gradient."""
    largest = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest


def all_logsumexp(partial: Tensor) -> Tensor:
    """Logsumexp over processes of each one's partial logsumexps, element by element; differentiable.

    One process's may be -inf, those of all may not.
    """
    if world_size() == 1:
        return partial
    largest = all_max(partial)
    return largest + all_sum((partial - largest).exp()).log()
