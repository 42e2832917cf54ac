"""MoCo: a momentum target and a queue of its embeddings as negatives (1911.05722)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled
from xmodal.config.spec import Count
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.masked_rows import masked_row_logsumexp
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import About, Need, ScaledObjective
from xmodal.objectives.online.directions import View, directions
from xmodal.objectives.online.queue import Queue, item_ids


class MoCo(ScaledObjective):
    """`L = -mean_i log( exp(s q_i.k_i) / (exp(s q_i.k_i) + sum_j exp(s q_i.n_j)) )`, n the newest K targets.

    On one side the query is its first view and the key k the momentum target's embedding of the second (MoCo). On two
    sides the query is the first side and the key the second's target; where the second side never changes it is its own
    target. `symmetric` adds the other direction, with a queue of its own, where the first side has a target too.

    The queue starts empty and is filled with whole batches; entries of items equal to the anchor's are left out. While
    it is empty the batch's other keys are the negatives.

    Example:
        objective = MoCo(queue=4096)
        objective(Embeddings.of(image=[q, z2], target={"image": [k1, k2]}), "image").value.backward()
        objective.after_step(embeddings)
    """

    class Spec(ScaledObjective.Spec):
        """Settings of MoCo v1 (v2: temperature 0.2, and an MLP as the head)."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.07
        learnable: bool = False
        queue: Count = 65536  # items
        symmetric: bool = False
        takes: ClassVar[tuple[int, int]] = (1, 2)

        def needs(self, *sides: str) -> Sequence[Need]:
            """A target of the keys' side, and two views where there is one side."""
            if len(sides) == 1:
                return [Need("views", sides[0], 2), Need("target", sides[0])]
            return [Need("target", side) for side in (sides if self.symmetric else sides[1:])]

    spec: Spec
    about = About(
        source="1911.05722",
        use="batches too small to hold enough negatives",
        cost="a queue of K rows; the target's forward pass where the tower trains",
    )

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.queues = nn.ModuleDict()
        self._sides: dict[str, tuple[str, ...]] = {}  # queue -> the sides whose ids its entries carry

    def prepare(self, groups: Sequence[tuple[str, ...]], dims: Mapping[str, int]) -> None:
        """A queue for every side that gives keys."""
        for sides in groups:
            for _, key in directions(sides, self.spec.symmetric):
                name = f"{key[0]}_{key[1]}"
                self._sides[name] = tuple(dict.fromkeys([*self._sides.get(name, ()), *sides]))
        for name in self._sides:
            self.queues[name] = self._made(name, dims[name.rpartition("_")[0]])

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts: `loss`, `temperature`, and `queue`, how many of its places are filled."""
        found = [self._direction(embeddings, *each, sides) for each in directions(sides, self.spec.symmetric)]
        value = torch.stack([share for share, _ in found]).mean()
        with torch.no_grad():
            loss = all_sum(value.detach().reshape(1))[0] / max(len(embeddings), 1)
            filled = float(sum(len(queue) for _, queue in found) / len(found))
            parts = {"loss": loss, "temperature": 1 / self.logit_scale(embeddings.clock).detach().reshape(())}
            parts["queue"] = loss.new_tensor(filled)
        return Loss(value=value * (world_size() / max(len(embeddings), 1)), parts=parts)

    @torch.no_grad()
    def after_step(self, embeddings: Embeddings) -> None:
        """Put the step's keys into the queues."""
        super().after_step(embeddings)
        for name, queue in self.queues.items():
            side, _, view = name.rpartition("_")
            queue.push(embeddings.target(side, int(view)), item_ids(embeddings, self._sides[name]))  # type: ignore[operator]

    def _made(self, name: str, dim: int) -> Queue:
        return Queue(self.spec.queue, dim, len(self._sides[name])).to(self.log_scale.device)

    def _queue(self, key: View, sides: tuple[str, ...], dim: int) -> tuple[Queue, tuple[str, ...]]:
        """The queue of a side's view, and the sides whose ids it holds; made here where nothing was prepared."""
        name = f"{key[0]}_{key[1]}"
        if name not in self.queues:
            self._sides[name] = sides
            self.queues[name] = self._made(name, dim)
        queue = self.queues[name]
        assert isinstance(queue, Queue)
        return queue, self._sides[name]

    def _direction(
        self, embeddings: Embeddings, query: View, key: View, sides: tuple[str, ...]
    ) -> tuple[Tensor, Queue]:
        """The sum over own anchors, and the queue it used."""
        q, k = embeddings.z(*query), embeddings.target(*key)
        queue, known = self._queue(key, sides, k.shape[1])
        own = embeddings.local
        dtype = sum_type(q)
        q, k = q[own].to(dtype), k.detach().to(dtype)
        scale = self.logit_scale(embeddings.clock).reshape(()).to(dtype)
        pairs = scale * (q * k[own]).sum(1)
        if len(queue):
            negatives, mine, theirs = queue.rows().to(dtype), item_ids(embeddings, known)[own], queue.ids()

            def hidden(at: slice) -> Tensor:
                return (mine[at].unsqueeze(1) == theirs).any(-1)
        else:
            negatives, same = k, embeddings.same(*sides)
            index = torch.arange(len(k), device=k.device)[own]

            def hidden(at: slice) -> Tensor:
                rows = index[at]
                return same.fill(k.new_zeros(len(rows), len(k)), rows, 1.0).bool()

        others = masked_row_logsumexp(q, negatives, scale, hidden)
        return (torch.logaddexp(pairs, others) - pairs).sum(), queue
