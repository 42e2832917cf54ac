"""What every objective is: a module that owns the logit scale and turns embeddings into a `Loss`.

Enters: gathered `Embeddings` and the names of the two modalities. Leaves: a `Loss`, by the convention of
distributed.py. Pure torch: an objective works without towers, config or trainer.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from xmodal.batch import Embeddings, Loss
from xmodal.errors import UserError
from xmodal.objectives.engine.key_bank import KeyBank
from xmodal.objectives.functional import Reduction

Source = Literal["batch", "store"]
NO_BANKS: Mapping[str, KeyBank] = MappingProxyType({})


class Objective(nn.Module):
    """Base of all objectives.

    temperature: where it starts; the logit scale is exp(log_scale) = 1 / temperature.
    learnable: train log_scale, a parameter of shape [1].
    max_scale: the scale is clamped to this before every forward pass (CLIP: 100).

    Raises UserError for a temperature that is not positive or starts above max_scale.
    """

    def __init__(self, temperature: float = 0.07, learnable: bool = True, max_scale: float = 100.0) -> None:
        super().__init__()
        if temperature <= 0 or 1 / temperature > max_scale * (1 + 1e-6):
            raise UserError(
                f"objective.temperature: {temperature:g} starts the scale outside (0, {max_scale:g}]; "
                f"use a temperature of at least {1 / max_scale:g}, or raise max_scale"
            )
        self.max_scale = max_scale
        self.log_scale = nn.Parameter(torch.tensor([-math.log(temperature)]), requires_grad=learnable)

    def forward(self, embeddings: Embeddings, trainable: str, frozen: str) -> Loss:
        """The loss between two modalities; the guide features of `frozen` say who attracts whom."""
        raise NotImplementedError

    def logit_scale(self) -> Tensor:
        """The scale [1], at most max_scale, with gradient.

        The parameter itself is clamped, so that its gradient at the limit still points both ways.
        """
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(self.max_scale))
        return self.log_scale.exp()


class SoftmaxObjective(Objective):
    """Base of the softmax losses: a mean or sum of two directions, and where the trainable anchors' negatives are.

    reduction: "mean" or "sum" over the directions of the loss.
    keys: "batch", or "store": every embedding of the frozen side's store, an exact logsumexp over all of them.
    banks: frozen modality -> its store's keys; needed to train with keys "store".

    Raises UserError for another reduction or other keys.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        learnable: bool = True,
        max_scale: float = 100.0,
        reduction: Reduction = "mean",
        keys: Source = "batch",
        banks: Mapping[str, KeyBank] = NO_BANKS,
    ) -> None:
        super().__init__(temperature=temperature, learnable=learnable, max_scale=max_scale)
        if reduction not in ("mean", "sum"):
            raise UserError(f"objective.reduction: found {reduction!r}, expected 'mean' or 'sum'")
        if keys not in ("batch", "store"):
            raise UserError(f"objective.keys: found {keys!r}, expected 'batch' or 'store'")
        self.reduction: Reduction = reduction
        self.keys: Source = keys
        self.banks = dict(banks)

    def bank(self, frozen: str) -> KeyBank:
        """The keys of the frozen side's store. Raises UserError where it has none."""
        if frozen not in self.banks:
            raise UserError(
                f"objective: keys or scope is store, but {frozen} has no store; set towers.{frozen}.kind=store"
            )
        return self.banks[frozen]
