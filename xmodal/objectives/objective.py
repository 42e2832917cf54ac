"""What every objective is: one term of a run's loss, a module that turns embeddings into a `Loss`.

Pure torch: an objective works without towers, config or trainer. To write one: derive from `Objective`, nest a `Spec`
with its settings, and give `forward` (see CONTRIBUTING.md).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from xmodal.batch import Clock, Embeddings, Loss
from xmodal.config.schedule import Number, Schedule, Scheduled, value_at
from xmodal.config.spec import Configured, KindSpec, Positive

Source = Literal["batch", "store"]


What = Literal["views", "target", "predicted", "labels", "store", "sequence", "teacher", "codes"]


class Need(NamedTuple):
    """What an objective asks of a run, checked before training starts. What it does not list is not checked.

    what: "views" (`amount` of them), "target" (a momentum target), "predicted" (a predictor), "labels", "store" (the
    side is read from a store and has no head), "sequence" (the side has a head over sequences), "teacher" (the side
    has a frozen teacher), or "codes" (its head chooses among entries of codebooks). side: whose; "" for labels.
    setting: that which asks for it.
    """

    what: What
    side: str = ""
    amount: int = 1
    setting: str = ""


class About(NamedTuple):
    """What the overview of all objectives says of one (docs/objectives/README.md)."""

    source: str = ""  # the papers' numbers on arXiv; of one that is not there, its address
    use: str = ""  # when to use it
    cost: str = ""  # time and memory, beside the towers'
    test: str = ""  # the file of its tests, where it is not test_MODULE.py


class Objective(Configured, nn.Module):
    """Base of all objectives.

    Args:
        spec: what a config says of it; left out, the settings by name: `NTXent(temperature=0.1)`.

    Raises `UserError` for a setting it does not know, or out of its range.
    """

    class Spec(KindSpec):
        """Settings every objective has."""

        on: tuple[str, ...] | None = None  # the sides it is for; none: every pair of the run
        weight: Annotated[Number, Scheduled(ge=0)] = 1.0  # in the sum of a run's terms
        takes: ClassVar[tuple[int, int]] = (2, 2)  # how many sides: at least, at most

        def needs(self, *sides: str) -> Sequence[Need]:
            """What it asks of a run when it is called on these sides."""
            return ()

    spec: Spec
    about: ClassVar[About] = About()

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__()
        self.spec = self.Spec.given(spec, settings)

    def __call__(self, embeddings: Embeddings, *sides: str) -> Any:
        """`forward` with autocast off: losses are made in fp32, or float64 where it is given."""
        with torch.autocast(embeddings.ids.device.type, enabled=False):
            return super().__call__(embeddings, *sides)

    def prepare_sequences(self, widths: Mapping[str, int]) -> None:
        """Called once before `prepare`: of the sides whose steps it needs, W, the width of a step."""

    def prepare(self, groups: Sequence[tuple[str, ...]], dims: Mapping[str, int]) -> None:
        """Called once before training: the sides of every later call, and each side's D. State is made here."""

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss over these sides; of two, the guide features of the second say who attracts whom."""
        raise NotImplementedError

    def after_step(self, embeddings: Embeddings) -> None:
        """Called after each update, with the step's embeddings: queues are filled, parameters clamped."""

    def outer_parameters(self) -> Sequence[nn.Parameter]:
        """Parameters that `outer` trains in place of `forward`, in a run with `train.step: bilevel`."""
        return ()

    def outer(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss of the outer problem, on embeddings whose heads made a virtual step down the inner one."""
        return self(embeddings, *sides)


class ScaledObjective(Objective):
    """Base of objectives on scaled similarities; the logit scale is exp(log_scale) = 1 / temperature."""

    class Spec(Objective.Spec):
        """Settings of the logit scale."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.07  # where it starts; or its schedule
        learnable: bool = True  # train log_scale, a parameter [1]; false with a schedule
        max_scale: Positive = 100.0  # the scale is at most this (CLIP: 100); a learned one is clamped after updates

        @model_validator(mode="after")
        def _scale(self) -> Self:
            followed = isinstance(self.temperature, Schedule)
            if followed and self.learnable:
                raise ValueError("temperature: it cannot both be learned and follow a schedule; set learnable: false")
            ends = [value_at(self.temperature, Clock(at, 2)) for at in (0, 1)]
            if 1 / min(ends) > self.max_scale * (1 + 1e-6):
                raise ValueError(
                    f"temperature: {min(ends):g} puts the scale outside (0, {self.max_scale:g}]; "
                    f"use a temperature of at least {1 / self.max_scale:g}, or raise max_scale"
                )
            return self

    spec: Spec

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        start = value_at(self.spec.temperature, Clock())
        self.log_scale = nn.Parameter(torch.tensor([-math.log(start)]), requires_grad=self.spec.learnable)

    def logit_scale(self, clock: Clock) -> Tensor:
        """The scale [1], with gradient where it is learned; else what the spec says, at this moment."""
        if not self.spec.learnable:
            return self.log_scale.new_tensor([1 / value_at(self.spec.temperature, clock)])
        return self.log_scale.exp()

    @torch.no_grad()
    def after_step(self, embeddings: Embeddings) -> None:
        """Clamp the parameter itself, so that its gradient at the limit still points both ways."""
        self.log_scale.clamp_(max=math.log(self.spec.max_scale))


class SoftmaxObjective(ScaledObjective):
    """Base of the softmax losses: two directions, and where the trainable anchors' negatives are."""

    class Spec(ScaledObjective.Spec):
        """Settings of the two directions."""

        reduction: Literal["mean", "sum"] = "mean"  # over the two directions
        # the trainable anchors' negatives: the batch, or every embedding of the other side's store
        keys: Source = "batch"

        def needs(self, *sides: str) -> Sequence[Need]:
            """Keys over a store ask for one."""
            return [Need("store", sides[1], setting="keys")] if self.keys == "store" else []

    spec: Spec
