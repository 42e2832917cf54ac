"""SupCon and UniCL: labels say who attracts whom (2004.11362, 2204.03610)."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled
from xmodal.config.spec import Count
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.masked_rows import masked_row_logsumexp
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.functional import soft_target_loss
from xmodal.objectives.kernels import ONE_HOT
from xmodal.objectives.objective import About, Need, ScaledObjective


class SupCon(ScaledObjective):
    """On one side SupCon, `L = mean_i -1/|P(i)| sum_{p in P(i)} log( exp(s z_i.z_p) / sum_j exp(s z_i.z_j) )`.

    P(i) are the other embeddings of i's label, its own other views included; the mean is over anchors that have any.
    j are P(i) and the embeddings of other items: equal items are never each other's negatives. A row without a label is
    a positive of its own views alone, and a negative of all other items. On two sides it is UniCL: InfoNCE whose
    targets are spread evenly over the rows of one label, in both directions.

    Example:
        SupCon(temperature=0.1)(Embeddings.of(text=z, labels=labels), "text").value.backward()
    """

    class Spec(ScaledObjective.Spec):
        """SupCon's temperature is fixed, 0.1 in its results."""

        temperature: Annotated[Number, Scheduled(gt=0)] = 0.1
        learnable: bool = False
        views: Count = 1  # of each item, on one side
        takes: ClassVar[tuple[int, int]] = (1, 2)

        def needs(self, *sides: str) -> Sequence[Need]:
            """Labels; views where there are to be several."""
            views = [Need("views", sides[0], self.views)] if len(sides) == 1 and self.views > 1 else []
            return [Need("labels"), *views]

    spec: Spec
    about = About(
        source="2004.11362, 2204.03610",
        use="labels, on one side or between two",
        cost="as NT-Xent on one side, as InfoNCE on two",
    )

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The loss; parts on one side: `loss`, `temperature`, `anchors` (the share that has positives)."""
        scale = self.logit_scale(embeddings.clock)
        if len(sides) == 2:
            relation = ("label",)
            return soft_target_loss(embeddings, *sides, scale, ONE_HOT, anchor="both", relation=relation)
        return self._one_side(embeddings, sides[0], scale)

    def _one_side(self, embeddings: Embeddings, side: str, scale: Tensor) -> Loss:
        views = [embeddings.z(side, view) for view in range(self.spec.views)]
        dtype = sum_type(views[0])
        z = torch.cat([view.to(dtype) for view in views])  # [V N, D]
        s, n, local = scale.reshape(()).to(dtype), len(embeddings), embeddings.local
        alike, items = embeddings.same("label").groups[0], torch.arange(n, device=z.device)[local]
        everyone, same = torch.arange(len(z), device=z.device), embeddings.same(side)
        # of each label the sum of its embeddings, and how many: anchors see both without themselves
        groups = alike.repeat(len(views))
        sums = torch.zeros_like(z).index_add(0, groups, z)
        counts = torch.bincount(groups, minlength=1)
        share, used = z.new_zeros(()), z.new_zeros(())
        for number in range(len(views)):
            rows = items + number * n
            positives = counts[groups[rows]] - 1
            rows = rows[positives > 0]
            anchors = z[rows]
            pull = (anchors * (sums[groups[rows]] - anchors)).sum(1) / positives[positives > 0]

            def hidden(at: slice, rows: Tensor = rows) -> Tensor:
                mine, block = rows[at], torch.zeros(len(rows[at]), n, dtype=torch.bool, device=z.device)
                equal = same.fill(block, mine % max(n, 1), 1.0).repeat(1, len(views))
                return (mine[:, None] == everyone) | (equal & (groups[mine][:, None] != groups))

            share = share + (masked_row_logsumexp(anchors, z, s, hidden) - s * pull).sum()
            used += len(rows)
        with torch.no_grad():
            total, anchors_used = all_sum(torch.stack([share.detach(), used]))
            many = anchors_used.clamp(min=1)
            parts = {"loss": total / many, "temperature": 1 / s, "anchors": anchors_used / max(1, len(z))}
        nothing = z.sum() * 0  # where there is no anchor at all: still a gradient
        return Loss(value=(share + nothing) * (world_size() / many), parts=parts)
