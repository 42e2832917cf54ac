"""A temperature for each pair: softmax losses whose logit scale may depend on the item."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from xmodal.batch import Embeddings
from xmodal.errors import UserError
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import SoftmaxObjective


class ItemScaled(SoftmaxObjective):
    """Base of softmax losses with `s_i = exp(log_scale + w.k_i)`, at most `max_scale`, where `per_item` is set.

    k_i is the second side's embedding, without gradient; w [D] is learned, and zeros at the start: then every pair has
    the one temperature. Pairs are told apart by their guide, so equal items of that side have equal temperatures.

    Example:
        objective = InfoNCE(per_item=True)
        objective.prepare([("speech", "text")], {"speech": 384, "text": 384})  # makes w; a run does it
    """

    class Spec(SoftmaxObjective.Spec):
        """Whether each pair has a temperature of its own."""

        per_item: bool = False

    spec: Spec

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.slopes = nn.ParameterDict()  # second side -> w

    def prepare(self, groups: Sequence[tuple[str, ...]], dims: Mapping[str, int]) -> None:
        """Make w for every second side."""
        super().prepare(groups, dims)
        for _, guide in groups if self.spec.per_item else ():
            self.slopes[guide] = nn.Parameter(self.log_scale.detach().new_zeros(dims[guide]))

    def scales(self, embeddings: Embeddings, guide: str) -> Tensor:
        """The scale [1], or with `per_item` one for each pair [N].

        Raises `UserError` where it was not prepared.
        """
        scale = self.logit_scale(embeddings.clock)
        if not self.spec.per_item:
            return scale
        if guide not in self.slopes:
            raise UserError(
                f"{type(self).__name__}: per_item has a parameter for each side; call prepare([(first, {guide!r})], "
                "{first: D, ...}) before training"
            )
        k, w = embeddings.z(guide).detach(), self.slopes[guide]
        dtype = sum_type(k, w)
        logs = scale.to(dtype).log() + k.to(dtype) @ w.to(dtype)
        return logs.clamp(max=math.log(self.spec.max_scale)).exp()
