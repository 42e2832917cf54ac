"""What every objective is: a module that owns the logit scale and turns embeddings into a `Loss`.

Enters: gathered `Embeddings` and the names of the two modalities. Leaves: a `Loss`, by the convention of
distributed.py. Pure torch: an objective works without towers, config or trainer.
"""

import math

import torch
from torch import Tensor, nn

from xmodal.batch import Embeddings, Loss
from xmodal.errors import UserError
from xmodal.objectives.functional import Reduction


class Objective(nn.Module):
    """Base of all objectives.

    temperature: where it starts; the logit scale is exp(log_scale) = 1 / temperature.
    learnable: train log_scale, a parameter of shape [1].
    max_scale: the scale is clamped to this before every forward pass (CLIP: 100).
    reduction: "mean" or "sum" over the directions of the loss.

    Raises UserError for a temperature that is not positive or starts above max_scale, and for another reduction.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        learnable: bool = True,
        max_scale: float = 100.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if temperature <= 0 or 1 / temperature > max_scale * (1 + 1e-6):
            raise UserError(
                f"objective.temperature: {temperature:g} starts the scale outside (0, {max_scale:g}]; "
                f"use a temperature of at least {1 / max_scale:g}, or raise max_scale"
            )
        if reduction not in ("mean", "sum"):
            raise UserError(f"objective.reduction: found {reduction!r}, expected 'mean' or 'sum'")
        self.reduction: Reduction = reduction
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
