"""One update: the loss, its gradient, the optimizer's step, and what follows it.

`plain` is that. `bilevel` (MetAug, 2203.05119) then solves a step of the terms' outer problems: the heads make a
virtual step down the inner loss, `phi' = phi - lr grad L(phi)`, and the outer loss at phi' is differentiated through
that step with respect to the terms' outer parameters. Backbones are not part of it, their features are fixed; unless
`virtual: all` has phi be all that trains in the towers.
"""

import contextlib
import math
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from xmodal.aligner.aligner import Aligner
from xmodal.batch import Loss, PairBatch
from xmodal.config.schema import RunConfig
from xmodal.distributed import all_gather_rows, all_sum, row_counts, world_size
from xmodal.errors import UserError
from xmodal.objectives.engine.second_order import twice_differentiable
from xmodal.training.optim import learning_rate, set_learning_rate


class Stepper:
    """Makes the updates of a run.

    Args:
        config: the run.
        accelerator: owns precision and processes.
        aligner: the module itself; `model`: as the accelerator wrapped it.
        optimizer: the optimizer itself; `prepared`: as the accelerator wrapped it.
        last_checkpoint: says, for an error, what is left to go on from, and how.
        first: the step it begins with, after which every parameter that trains must have a gradient.
    """

    def __init__(
        self,
        config: RunConfig,
        accelerator: Accelerator,
        aligner: Aligner,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        prepared: torch.optim.Optimizer,
        last_checkpoint: Callable[[], str],
        first: int = 0,
    ) -> None:
        self.config, self.accelerator, self.last_checkpoint = config, accelerator, last_checkpoint
        self.aligner, self.model, self.optimizer, self.prepared = aligner, model, optimizer, prepared
        self.first = first
        outer = [p for name in aligner.terms for p in aligner.term(name).outer_parameters()]
        self.outer = [p for p in outer if p.requires_grad]  # optim.rules may have frozen them
        if self.outer and not moving_parameters(aligner, config.train.virtual == "all"):
            raise UserError(
                "train.virtual: heads make the virtual step, and no head trains; give a tower one "
                "(towers.SIDE.head={kind: linear}), or set train.virtual=all"
            )

    def step(self, batch: PairBatch) -> dict[str, Tensor]:
        """One update; returns the loss's parts and the gradient's norm before clipping. `batch.clock` is set.

        Where the batch of all processes holds no pair (none could be read), nothing is updated, and nothing returned.

        Raises:
            UserError: loss or gradient is not finite; nothing of this step is saved.
        """
        if not sum(row_counts(batch.ids)):
            self.first += batch.clock.step == self.first
            return {}
        optim = self.config.optim
        set_learning_rate(self.optimizer, learning_rate(batch.clock.step, batch.clock.steps, optim))
        loss: Loss = self.model(batch)
        self._require_finite(batch, loss.value.detach(), "loss")
        self.accelerator.backward(loss.value)
        if batch.clock.step == self.first:
            self._require_gradients()
        later = [p for side in self.aligner.towers for p in self.aligner.tower(side).resting_parameters()]
        for parameter in [*self.outer, *later]:  # the outer problem's, and what rests: AdamW passes them over
            parameter.grad = None
        norm = self._clip([p for p in self.aligner.parameters() if p.grad is not None])
        if self.config.train.precision != "fp16":  # there the scaler skips steps whose gradients overflow
            self._require_finite(batch, norm, "gradient")
        self.prepared.step()
        self.prepared.zero_grad()
        parts = dict(loss.parts)  # alone: the value holds the graph
        del loss
        if self.config.train.step == "bilevel" and self.outer:
            parts |= self._outer_step(batch)
        self.aligner.after_step()
        return {**parts, "gradient_norm": norm.detach()}

    def _require_gradients(self) -> None:
        """Raise `UserError` where a tower that trains is reached by no term; DDP would fail at the second step."""
        for side in self.aligner.towers:
            trained = [p for p in self.aligner.tower(side).parameters() if p.requires_grad]
            if trained and all(p.grad is None for p in trained):
                raise UserError(
                    f"towers.{side}: it trains, but no term of the objective gives it a gradient; lock it, or name a "
                    "term that trains it (of moco, moco_v3, byol and simsiam: symmetric: true)"
                )

    def _clip(self, parameters: list[nn.Parameter]) -> Tensor:
        return self.accelerator.clip_grad_norm_(parameters, self.config.optim.clip or math.inf)

    def _outer_step(self, batch: PairBatch) -> dict[str, Tensor]:
        """A step of the outer parameters; its loss's parts as `outer/...`."""
        with self.accelerator.autocast():
            train = self.config.train
            backbones = train.virtual == "all"
            outer_loss, gradients = outer_gradients(self.aligner, batch, self.outer, train.virtual_lr, backbones)
        self._require_finite(batch, outer_loss.value.detach(), "outer loss")
        for parameter, gradient in zip(self.outer, gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self.outer, self.config.optim.clip or math.inf)  # never scaled
        self._require_finite(batch, norm, "outer gradient")
        self.optimizer.step()
        self.prepared.zero_grad()
        return {f"outer/{name}": value for name, value in outer_loss.parts.items()}

    def _require_finite(self, batch: PairBatch, value: Tensor, what: str) -> None:
        flag = torch.tensor([float(not math.isfinite(float(value)))], device=value.device)
        if float(all_gather_rows(flag, [1] * self.accelerator.num_processes).sum()) == 0:
            return
        shown = ", ".join(batch.names[:8]) + (f" and {len(batch.names) - 8} more" if len(batch.names) > 8 else "")
        raise UserError(
            f"step {batch.clock.step + 1}: {what} is not finite; the batch held {shown}; {self.last_checkpoint()}"
        )


def outer_gradients(
    aligner: Aligner, batch: PairBatch, outer: list[nn.Parameter], virtual_lr: float, backbones: bool = False
) -> tuple[Loss, list[Tensor]]:
    """The outer loss after a virtual step, and its gradient: that of the whole batch, on all processes.

    Args:
        aligner: not wrapped: nothing here goes through DDP.
        batch: this process's pairs.
        outer: the parameters that the outer problem trains.
        virtual_lr: of the virtual step.
        backbones: make the step of the backbones too; else the heads make it alone, on features that are fixed.
    """
    fixed = None if backbones else aligner.fixed_features(batch)
    moving: dict[str, Tensor] = dict(moving_parameters(aligner, backbones))
    # of torch's attentions, one alone can be differentiated twice
    with twice_differentiable(), sdpa_kernel(SDPBackend.MATH) if backbones else contextlib.nullcontext():
        inner: Loss = functional_call(aligner, moving, (batch, fixed))
        slopes = torch.autograd.grad(inner.value, list(moving.values()), create_graph=True, allow_unused=True)
        moved = {
            name: parameter if slope is None else parameter - virtual_lr * all_sum(slope) / world_size()
            for (name, parameter), slope in zip(moving.items(), slopes, strict=True)
        }
        loss: Loss = functional_call(aligner, moved, (batch, fixed), {"outer": True})
        found = torch.autograd.grad(loss.value, outer, allow_unused=True)
    whole = [torch.zeros_like(p) if g is None else g for p, g in zip(outer, found, strict=True)]
    return loss, [all_sum(gradient) / world_size() for gradient in whole]


def moving_parameters(aligner: Aligner, backbones: bool) -> list[tuple[str, nn.Parameter]]:
    """What makes the virtual step, by name: what trains in the heads, or also in the backbones."""
    where = tuple(f"towers.{side}." + ("" if backbones else "head.") for side in aligner.towers)
    return [(name, p) for name, p in aligner.named_parameters() if p.requires_grad and name.startswith(where)]
