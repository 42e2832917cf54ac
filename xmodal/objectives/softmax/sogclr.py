"""SogCLR and FastCLIP: the global contrastive loss, by a running estimate for every pair (2202.12387, 2407.01445)."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Schedule, Scheduled, value_at
from xmodal.config.spec import Positive
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.id_table import IdTable
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import About, ScaledObjective
from xmodal.objectives.softmax.negatives import apart


class SogCLR(ScaledObjective):
    """`L = tau mean_i h_i / (u_i + eps)`, `h_i = mean_{j != i} e^{s (a_i.k_j - a_i.k_i)}`, in both directions.

    `u_i <- (1 - g) u_i + g h_i`, a number for every pair and direction, kept by the pair's id; it starts as the first
    h_i. u has no gradient, and that of L estimates the gradient of `tau mean_i log(eps + h_i)` with every h_i over the
    whole data: a large batch's loss, of small ones. Where tau is learned, `tau (rho + mean_i log(eps + u_i))` is added
    and the first tau has no gradient (FastCLIP-v3). Items equal to the anchor's are not among the j.

    Example:
        objective = SogCLR()
        objective(embeddings, "image", "text").value.backward()
        objective.after_step(embeddings)   # keeps u
    """

    class Spec(ScaledObjective.Spec):
        """Settings of FastCLIP."""

        # how much of the newest batch enters u
        gamma: Annotated[Number, Scheduled(gt=0, le=1)] = Schedule(schedule="cosine", start=1.0, to=0.2)
        rho: Annotated[Number, Scheduled(ge=0)] = 6.5  # holds a learned tau up: it settles where log u is about -rho
        eps: Positive = 1e-14
        reduction: Literal["mean", "sum"] = "mean"  # over the two directions

    spec: Spec
    about = About(
        source="2202.12387, 2407.01445",
        use="small batches, seen for many epochs: what a pair met in earlier batches counts",
        cost="logits of N x N in blocks, for each direction; 16 bytes for every pair of the data, in checkpoints too",
    )

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.tables = nn.ModuleDict()  # sides -> log u of both directions, by pair id
        self._met: WeakKeyDictionary[Embeddings, dict[tuple[str, ...], tuple[Tensor, Tensor]]] = WeakKeyDictionary()

    def prepare(self, groups: Sequence[tuple[str, ...]], dims: Mapping[str, int]) -> None:
        """A table for every pair of sides."""
        for sides in groups:
            self._table(sides)

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss between two sides. It changes no state: `after_step` keeps the u of these embeddings.

        parts: `loss`; `objective`, `tau mean log(eps + u)`, plus `tau rho` where tau is learned: what falls as training
        goes on, while h / (u + eps) stays near 1; `temperature`; `pairs`, how many had a u before this step.
        """
        a, k = (embeddings.z(side) for side in sides)
        dtype = sum_type(a, k)
        a, k = a.to(dtype), k.to(dtype)
        scale = self.logit_scale(embeddings.clock).reshape(()).to(dtype)
        same, own, n = embeddings.same(*sides), embeddings.local, max(len(embeddings), 1)
        found = [apart(*two, scale, same, own, alpha=0.0) for two in ((a, k), (k, a))]
        log_h = [one.total - one.pair - one.many.log() for one in found]
        anchors = same.count < len(a)  # those that have negatives, on all processes
        log_u = self._moved(embeddings, sides, [one.rows for one in found], log_h, anchors)
        below = torch.logaddexp(log_u, log_u.new_tensor(math.log(self.spec.eps)))  # [N, 2] log(eps + u)

        tau, rho = 1 / scale, value_at(self.spec.rho, embeddings.clock) if self.spec.learnable else 0.0
        share = tau.detach() * a.new_zeros(())
        for direction, (one, h) in enumerate(zip(found, log_h, strict=True)):
            mine = below[one.rows, direction]
            share = share + tau.detach() * (h - mine).exp().sum()
            if self.spec.learnable:
                share = share + tau * (rho + mine).sum()
        factor = 0.5 if self.spec.reduction == "mean" else 1.0
        with torch.no_grad():
            parts = {"loss": all_sum(share.detach().reshape(1))[0] * (factor / n), "temperature": tau.detach()}
            parts["objective"] = tau.detach() * (rho + below[anchors]).sum() * (factor / n)
            parts["pairs"] = share.new_tensor(float(len(self._table(sides))))
        return Loss(value=share * (factor * world_size() / n), parts=parts)

    @torch.no_grad()
    def after_step(self, embeddings: Embeddings) -> None:
        """Keep the u that the step's losses had."""
        super().after_step(embeddings)
        for sides, (ids, log_u) in self._met.pop(embeddings, {}).items():
            self._table(sides).put(ids, log_u)

    @torch.no_grad()
    def _moved(
        self,
        embeddings: Embeddings,
        sides: tuple[str, ...],
        rows: Sequence[Tensor],
        log_h: Sequence[Tensor],
        anchors: Tensor,
    ) -> Tensor:
        """log u [N, 2] after this batch, alike on every process; of the others than `anchors` 0."""
        h = log_h[0].new_zeros(len(anchors), 2)
        for direction, (at, value) in enumerate(zip(rows, log_h, strict=True)):
            h[at, direction] = value.detach()
        h = all_sum(h)  # every process has its own rows, and zeros elsewhere
        before, known = self._table(sides).get(embeddings.ids)
        gamma = h.new_tensor(value_at(self.spec.gamma, embeddings.clock))
        mixed = torch.logaddexp((1 - gamma).log() + before.to(h), gamma.log() + h)
        log_u = torch.where(known.unsqueeze(1), mixed, h)
        self._met.setdefault(embeddings, {})[sides] = embeddings.ids[anchors], log_u[anchors]
        return log_u

    def _table(self, sides: tuple[str, ...]) -> IdTable:
        name = "-".join(sides)
        if name not in self.tables:
            self.tables[name] = IdTable(2).to(self.log_scale)
        table = self.tables[name]
        assert isinstance(table, IdTable)
        return table
