"""The sum of softplus over a logit matrix that is never stored: what SigLIP repels by.

Input: embeddings a [n, D] and k [m, D], scale s, bias b. Output: `sum_ij log(1 + exp(s a_i.k_j + b))`, differentiable
in all four, in O((n + m) D) memory. One pass: the gradient of a sum is known tile by tile, so the forward pass makes
it, and the backward pass only multiplies by the upstream gradient. One exponential serves both: with `E = exp(logit)`
the value is log1p(E) and the gradient E / U, U = 1 + E. log1p itself takes 11 times as long as log in torch 2.14 on a
CPU, so it is made of log(U) and what rounding took from U, `(E - (U - 1)) / U` (as in fdlibm).

Axes: n rows of a, m rows of k, D embedding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from xmodal.objectives.engine.second_order import is_twice_differentiable
from xmodal.objectives.engine.tiles import Tile, bound_of, buffer_for, product, spans, sum_type, tile_for

LARGEST = 80.0  # exp of a logit up to here is a number in fp32


def softplus_sum(a: Tensor, k: Tensor, scale: Tensor, bias: Tensor, *, tile: Tile | None = None) -> Tensor:
    """`sum_ij softplus(scale a_i.k_j + bias)`, a scalar in fp32 or the inputs' wider type.

    `scale` and `bias` have one element. The gradient can be taken once (no double backward).

    Example:
        loss = (softplus_sum(a, k, scale, bias) - (scale * (a * k).sum(-1) + bias).sum()) / len(a)  # SigLIP
    """
    if is_twice_differentiable():
        dtype = sum_type(a, k)
        logits = scale.reshape(()).to(dtype) * (a.to(dtype) @ k.to(dtype).T) + bias.reshape(()).to(dtype)
        return F.softplus(logits).sum()
    total: Tensor = _SoftplusSum.apply(a, k, scale, bias, tile or tile_for(a))
    return total


class _SoftplusSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, k: Tensor, scale: Tensor, bias: Tensor, tile: Tile) -> Tensor:
        want_a, want_k, want_s, want_b = ctx.needs_input_grad[:4]
        ctx.shapes = scale.shape, bias.shape
        ctx.types = a.dtype, k.dtype, scale.dtype, bias.dtype
        with torch.autocast(a.device.type, enabled=False):
            dtype = sum_type(a, k)
            A, K, s, b = a.to(dtype), k.to(dtype), scale.reshape(()).to(dtype), bias.reshape(()).to(dtype)
            # dA without its factor s is also what the scale's gradient is made of
            dA = torch.zeros_like(A) if want_a or (want_s and not want_k) else None
            dK = torch.zeros_like(K) if want_k else None
            total = torch.zeros((), dtype=torch.float64, device=a.device)
            db = torch.zeros_like(total)
            safe = bool(bound_of(A, K, s) + b < LARGEST)
            A_s, buffer, other = A * s, buffer_for(A, len(A), len(K), tile), buffer_for(A, len(A), len(K), tile)
            for i in spans(len(A), tile[0]):
                for j in spans(len(K), tile[1]):
                    logits = product(A_s[i], K[j], buffer).add_(b)
                    value, slope = _softplus(logits, other[: logits.numel()].view_as(logits), safe)
                    total += value
                    if dA is not None:
                        dA[i].addmm_(slope, K[j])
                    if dK is not None:
                        dK[j].addmm_(slope.T, A[i])
                    if want_b:
                        db += slope.sum()
            ds = None
            if want_s:
                ds = (A * dA).sum() if dA is not None else (K * dK).sum()  # type: ignore[operator]
            if dA is not None:
                dA.mul_(s)
            if dK is not None:
                dK.mul_(s)
        ctx.save_for_backward(dA if want_a else None, dK, ds, db if want_b else None)
        return total.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients = []
        for x, dtype in zip(ctx.saved_tensors, ctx.types, strict=True):
            gradients.append(None if x is None else (x * grad.to(x.dtype)).to(dtype))
        for place, shape in zip((2, 3), ctx.shapes, strict=True):
            x = gradients[place]
            gradients[place] = None if x is None else x.reshape(shape)
        return (*gradients, None)


def _softplus(logits: Tensor, room: Tensor, safe: bool) -> tuple[Tensor, Tensor]:
    """(sum of softplus, its slope in the logits' place: the logistic function); `room` is overwritten."""
    if not safe:
        return F.softplus(logits).sum(), logits.sigmoid_()
    E = logits.exp_()
    U = torch.add(E, 1, out=room)
    lost = U - 1
    torch.sub(E, lost, out=lost)
    slope, rest = E.div_(U), lost.div_(U).sum()
    return U.log_().sum() + rest, slope
