"""Encoding a large batch piece by piece: memory for one chunk's activations, the gradient of the whole batch.

Input: a backbone, the chunks, the parameters that train. Output: the whole batch's features, as ONE node of the graph:
forward without a graph; backward encodes each chunk again, with the same random numbers, and adds up the parameters'
gradients. It is GradCache (Gao et al. 2021, 2101.06983) inside the graph, so that a trainer and DDP see nothing of it.
Heads lie outside: they see the whole batch, and can be differentiated as often as one likes.

`torch.utils.checkpoint` for each chunk does the same work, but was measured to take 3 to 5 times the memory at 1,024
and 2,048 pairs (docs/performance.md).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad
from torch.utils.checkpoint import get_device_states, set_device_states

from xmodal.batch import Rows

Encode = Callable[[Rows], Tensor]


def features_in_chunks(encode: Encode, chunks: Sequence[Rows], parameters: Sequence[Tensor]) -> Tensor:
    """Features [B, G] of all chunks; differentiable, once, in `parameters`.

    `encode` gives those of one chunk, and must not depend on the others (BatchNorm in training mode would). Where the
    chunks' G differ, shorter rows end in zeros.

    Example:
        features = features_in_chunks(tower.features, [{"x": x[:64]}, {"x": x[64:]}], list(tower.backbone.parameters()))
    """
    features: Tensor = _Chunked.apply(encode, chunks, *parameters)
    return features


def joined(chunks: Sequence[Tensor]) -> Tensor:
    """Rows [b, G_i] of all chunks as one [B, G] of the largest G, zeros beyond each."""
    width = max(chunk.shape[1] for chunk in chunks)
    return torch.cat([pad(chunk, (0, width - chunk.shape[1])) for chunk in chunks])


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, encode: Encode, chunks: Sequence[Rows], *parameters: Tensor) -> Tensor:
        ctx.encode, ctx.chunks, ctx.parameters = encode, chunks, parameters
        device = parameters[0].device.type
        ctx.autocast = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        ctx.random = []
        found = []
        for rows in chunks:
            ctx.random.append((torch.get_rng_state(), get_device_states(*rows.values())))
            found.append(encode(rows))
        return joined(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull: Tensor) -> tuple[Any, ...]:
        total: list[Tensor | None] = [None] * len(ctx.parameters)
        now = torch.get_rng_state(), get_device_states(*ctx.chunks[0].values())
        kind, dtype, enabled = ctx.autocast
        start = 0
        for rows, random in zip(ctx.chunks, ctx.random, strict=True):
            _set_random(random)
            with torch.enable_grad(), torch.autocast(kind, dtype, enabled):
                features = ctx.encode(rows)
            part = pull[start : start + len(features), : features.shape[1]]
            start += len(features)
            for at, gradient in enumerate(torch.autograd.grad(features, ctx.parameters, part, allow_unused=True)):
                if gradient is not None:
                    kept = total[at]
                    # a copy first: two parameters may be given one tensor
                    total[at] = gradient.clone() if kept is None else kept.add_(gradient)
            del features
        _set_random(now)
        return None, None, *total


def _set_random(state: tuple[Tensor, tuple[list[int], list[Tensor]]]) -> None:
    """Put the CPU's and the devices' generators where they were."""
    torch.set_rng_state(state[0])
    set_device_states(*state[1])
