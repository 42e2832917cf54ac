"""Losses that can be differentiated twice: what a virtual step needs (`train.step: bilevel`).

The streamed sums make their own gradient and can be differentiated once. Inside `twice_differentiable()` the same
losses are made of plain torch instead, with matrices of N x N: such steps are for batches of some thousands.
"""

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

_ON = contextvars.ContextVar("twice_differentiable", default=False)


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Losses made inside have second derivatives.

    Example:
        with twice_differentiable():
            loss = objective(embeddings, "speech", "text")
        slope = torch.autograd.grad(loss.value, parameters, create_graph=True)
    """
    before = _ON.set(True)
    try:
        yield
    finally:
        _ON.reset(before)


def is_twice_differentiable() -> bool:
    """Is this such a loss?"""
    return _ON.get()
