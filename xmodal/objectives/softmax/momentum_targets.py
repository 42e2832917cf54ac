"""Momentum targets as soft targets: ALBEF's image-text contrastive loss with momentum distillation (2107.07651)."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from xmodal.batch import Clock, Embeddings, Loss
from xmodal.config.schedule import Number, Schedule, Scheduled, value_at
from xmodal.config.spec import Positive
from xmodal.objectives.directions import Direction, directions_loss
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.functional import Reduction
from xmodal.objectives.objective import About, Need, ScaledObjective
from xmodal.objectives.online.queue import Queue, item_ids

FIRST_EPOCH = Schedule.model_validate({"schedule": "linear", "to": 0.4, "until": 1 / 30})  # ALBEF trains for 30


class MomentumTargets(ScaledObjective):
    """`L = -mean_i sum_j T_ij log softmax_j(s a_i.k'_j)`, `T = alpha softmax(s a'_i.k'_j) + (1 - alpha) E`, both ways.

    a' and k' are the momentum targets' embeddings of the two sides; the keys k'_j are those of the batch and of a queue
    of the newest pairs, without gradient. E are the one-hot targets, which items equal to the anchor's share, in the
    batch and in the queue. A side that never changes is its own target, and has anchors without gradient.

    Example:
        objective = MomentumTargets(queue=4096, alpha=0.4)
        e = Embeddings.of(image=a, text=k, target={"image": slow_a, "text": slow_k})
        objective(e, "image", "text").value.backward()
        objective.after_step(e)
    """

    class Spec(ScaledObjective.Spec):
        """ALBEF's settings; its temperature is learned between 0.001 and 0.5."""

        alpha: Annotated[Number, Scheduled(ge=0, le=1)] = FIRST_EPOCH  # share of the momentum softmax in the targets
        queue: Annotated[int, Field(ge=0)] = 65536  # pairs; 0: the batch alone
        max_scale: Positive = 1000.0
        min_scale: Positive = 2.0  # the scale is at least this; a learned one is clamped after updates
        reduction: Reduction = "mean"  # over the two directions

        @model_validator(mode="after")
        def _least(self) -> Self:
            most = max(value_at(self.temperature, Clock(at, 2)) for at in (0, 1))
            if 1 / most < self.min_scale * (1 - 1e-6):
                raise ValueError(
                    f"temperature: {most:g} puts the scale below {self.min_scale:g}; "
                    f"use a temperature of at most {1 / self.min_scale:g}, or lower min_scale"
                )
            return self

        def needs(self, *sides: str) -> Sequence[Need]:
            """A target of both sides."""
            return [Need("target", side) for side in sides]

    spec: Spec
    about = About(
        source="2107.07651",
        use="noisy pairs: captions that also fit other items of the batch; small batches (the queue)",
        cost="the targets' forward passes; two queues of K rows; logits of N x (N + K) each way, in blocks",
    )

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.queues = nn.ModuleDict()
        self._groups: dict[str, tuple[str, ...]] = {}  # queue -> the sides whose pairs it holds

    def prepare(self, groups: Sequence[tuple[str, ...]], dims: Mapping[str, int]) -> None:
        """A queue for every pair of sides."""
        for sides in groups:
            self._queue(sides, sum(dims[side] for side in sides))

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts as `directions_loss` has them, `alpha`, and `queue`: how many of its places are filled."""
        online = [embeddings.z(side) for side in sides]
        slow = [embeddings.target(side).detach() for side in sides]
        scale, clock, n = self.logit_scale(embeddings.clock), embeddings.clock, len(embeddings)
        alpha, same, mine = value_at(self.spec.alpha, clock), embeddings.same(*sides), item_ids(embeddings, sides)
        queue = self._queue(sides, sum(x.shape[1] for x in slow))
        dtype = sum_type(slow[0], slow[1])
        slow = [x.to(dtype) for x in slow]
        keys, theirs = slow, mine[:0]
        if queue is not None and len(queue):
            held = queue.rows().to(dtype).split([x.shape[1] for x in slow], dim=1)
            keys, theirs = [torch.cat(both) for both in zip(slow, held, strict=True)], queue.ids()
        fixed = scale.detach().to(dtype)

        def rows(query: Tensor, key: Tensor, index: Tensor) -> Tensor:
            hits = query.new_zeros(len(index), len(key))
            same.fill(hits[:, :n], index, 1.0)
            hits[:, n:] = (mine[index].unsqueeze(1) == theirs).any(-1)
            one_hot = hits.div_(hits.sum(1, keepdim=True))
            return one_hot.lerp_((fixed * query[index] @ key.T).softmax(1), alpha) if alpha else one_hot

        directions = [
            Direction(online[0], keys[1], lambda index: rows(slow[0], keys[1], index)),
            Direction(online[1], keys[0], lambda index: rows(slow[1], keys[0], index)),
        ]
        loss = directions_loss(embeddings, scale, directions, self.spec.reduction)
        told = {"alpha": alpha, "queue": float(len(theirs))}
        return Loss(loss.value, loss.parts | {name: loss.parts["loss"].new_tensor(x) for name, x in told.items()})

    @torch.no_grad()
    def after_step(self, embeddings: Embeddings) -> None:
        """Clamp the scale from both sides, and put the step's targets into the queues."""
        super().after_step(embeddings)
        self.log_scale.clamp_(min=math.log(self.spec.min_scale))
        for name, sides in self._groups.items():
            rows = torch.cat([embeddings.target(side) for side in sides], dim=1)
            self.queues[name].push(rows, item_ids(embeddings, sides))  # type: ignore[operator]

    def _queue(self, sides: tuple[str, ...], width: int) -> Queue | None:
        """The queue of a pair of sides, both targets of a pair side by side; made here where nothing was prepared."""
        if not self.spec.queue:
            return None
        name = "-".join(sides)
        if name not in self.queues:
            self._groups[name] = sides
            self.queues[name] = Queue(self.spec.queue, width, len(sides)).to(self.log_scale.device)
        queue = self.queues[name]
        assert isinstance(queue, Queue)
        return queue
