"""Every embedding of a store as keys: exact negatives over the whole data set, and one pass over it.

Input: the rows of a frozen tower, memory-mapped. Output: `row_logsumexp`, log sum_j exp(s a_i.k_j) over ALL M of them,
and the targets of a kernel over all of them. The keys never move, so nothing here is stale, nothing is gathered, and no
gradient flows to a key.

Axes: n anchors, M keys of the store, D embedding.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from xmodal.errors import UserError
from xmodal.objectives.engine.tiles import bound_of, exponentials, shift_of, spans, sum_type, underflowing

BLOCK = 2048  # keys in memory at a time on a CPU
ANCHORS = 512  # anchors whose logits are held at a time
SHARE = 0.5  # of a GPU's free memory that the keys may take


class KeyBank:
    """All rows of a store as unit-norm keys, in the order of their item ids.

    Args:
        rows: [M, D] float32, as `EmbeddingStore.all_rows()`: read block by block, never as a whole on a CPU.
        ids: [M] int64, ascending.

    Raises UserError for an empty store.

    Example:
        store = EmbeddingStore.open("data/demo/text_store")
        bank = KeyBank(store.all_rows(), store.ids)
        loss = bank.row_logsumexp(a, scale).mean()
    """

    def __init__(self, rows: np.ndarray, ids: np.ndarray) -> None:
        if not len(rows):
            raise UserError("objective.keys: the store holds no item")
        self._rows, self.ids = rows, torch.from_numpy(np.array(ids))
        self.width = rows.shape[1]
        self._on_device: Tensor | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """The keys [b, D], unit norm, with their places. On a GPU they stay there in bf16 where they fit."""
        if device.type == "cuda":
            if self._on_device is None and self._fits(device):
                self._on_device = torch.cat([k.bfloat16() for _, k in self._stream(device, torch.float32)])
            if self._on_device is not None:
                for at in spans(len(self), 8 * BLOCK):
                    yield at, self._on_device[at].to(dtype)
                return
        yield from self._stream(device, dtype)

    def _stream(self, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        for at in spans(len(self), BLOCK):
            rows = torch.from_numpy(np.array(self._rows[at]))  # a copy: the map is read-only
            yield at, F.normalize(rows.to(device, dtype), dim=1)

    def _fits(self, device: torch.device) -> bool:
        free, _ = torch.cuda.mem_get_info(device)
        return 2 * len(self) * self.width < SHARE * free

    def row_logsumexp(self, a: Tensor, scale: Tensor) -> Tensor:
        """`log sum_j exp(scale a_i.k_j)` [n] over the whole store; differentiable, once, in a [n, D] and scale."""
        rows: Tensor = _BankLogSumExp.apply(a, scale, self)
        return rows


class _BankLogSumExp(torch.autograd.Function):
    """One pass over the keys: beside `sum_j E_ij` it keeps `sum_j E_ij k_j`, of which both gradients are made."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, scale: Tensor, bank: KeyBank) -> Tensor:
        wanted = any(ctx.needs_input_grad[:2])
        with torch.autocast(a.device.type, enabled=False):
            dtype = sum_type(a)
            A, s = a.to(dtype), scale.reshape(()).to(dtype)
            shift = shift_of(bound_of(A, A.new_ones(1, 1), s))  # keys are unit norm
            sums, pulled = _shared(A * s, bank, shift, wanted)
            lse = sums.log() + shift
            mean = pulled / sums.unsqueeze(1) if pulled is not None else None
            low = underflowing(lse, shift, len(bank))
            if len(low):  # so far below the top that terms were lost: again, with running maxima
                lse[low], exact = _with_maxima(A[low] * s, bank, wanted)
                if mean is not None and exact is not None:
                    mean[low] = exact
        ctx.save_for_backward(a, scale, mean)
        return lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, scale, mean = ctx.saved_tensors
        pull = grad.to(mean.dtype).unsqueeze(1) * mean  # [n, D]
        da = (pull * scale.to(mean.dtype)).to(a.dtype) if ctx.needs_input_grad[0] else None
        ds = None
        if ctx.needs_input_grad[1]:
            ds = (a.to(mean.dtype) * pull).sum().reshape(scale.shape).to(scale.dtype)
        return da, ds, None


def _shared(A_s: Tensor, bank: KeyBank, shift: float, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """(sum_j E_ij [n], sum_j E_ij k_j [n, D]) with E = exp(S - shift)."""
    sums, pulled = A_s.new_zeros(len(A_s)), torch.zeros_like(A_s) if wanted else None
    buffer: Tensor | None = None
    for _, k in bank.blocks(A_s.device, A_s.dtype):
        if buffer is None:
            buffer = A_s.new_empty(min(ANCHORS, len(A_s)) * len(k))
        for i in spans(len(A_s), ANCHORS):
            E = exponentials(A_s[i], k, shift, buffer)
            sums[i] += E.sum(1)
            if pulled is not None:
                pulled[i].addmm_(E, k)
    return sums, pulled


def _with_maxima(A_s: Tensor, bank: KeyBank, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """(lse [n], sum_j softmax_ij k_j [n, D]), rescaled whenever a larger logit is met."""
    lse = A_s.new_full((len(A_s),), -math.inf)
    mean = torch.zeros_like(A_s) if wanted else None
    for _, k in bank.blocks(A_s.device, A_s.dtype):
        for i in spans(len(A_s), ANCHORS):
            S = A_s[i] @ k.T
            both = torch.logaddexp(lse[i], S.logsumexp(1))
            if mean is not None:
                mean[i] = mean[i] * (lse[i] - both).exp().unsqueeze(1) + (S - both.unsqueeze(1)).exp() @ k
            lse[i] = both
    return lse, mean
