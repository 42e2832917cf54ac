"""MetAug: contrastive learning with features augmented by a generator that is learned (2203.05119)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from xmodal.batch import Embeddings, Loss
from xmodal.config.schedule import Number, Scheduled, value_at
from xmodal.config.spec import Count
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.comparisons import PairOrViews
from xmodal.objectives.metaug.generator import Generator
from xmodal.objectives.metaug.margins import Margins, margin_rows
from xmodal.objectives.metaug.oucl import both_directions, oucl_rows
from xmodal.objectives.metaug.pairs import Rows, anchor_rows, two_views
from xmodal.objectives.objective import About, Objective


class MetAug(Objective):
    """Towers learn on `L_ori + delta L_aug`, generators on `L_ori' + delta L_aug' + alpha R'` after a virtual step.

    L_ori compares the embeddings a, k of the two sides, or of the two views of one side. L_aug is the mean over
    (a~, k), (a, k~) and (a~, k~), where a~ is what the side's generator makes of a. R holds the augmented pairs to
    margins of the original ones (`margins.py`). The dash: with heads that made a virtual step down the towers' loss,
    which depends on the generators. So it runs with `train.step: bilevel`.

    Example:
        objective = MetAug(hidden=512)
        e = Embeddings.of(speech=z, text=k)
        objective(e, "speech", "text").value.backward()        # the towers' loss
        objective.outer(e, "speech", "text").value.backward()  # the generators', here without a virtual step
    """

    class Spec(PairOrViews):
        """Settings of both losses."""

        contrast: Literal["oucl", "infonce"] = "oucl"  # the loss of L_ori and L_aug
        beta: Annotated[Number, Scheduled(gt=0)] = 16.0  # of OUCL
        gamma: Annotated[Number, Scheduled(ge=0, le=1)] = 0.25  # of OUCL
        detach_weights: bool = False  # of OUCL
        temperature: Annotated[Number, Scheduled(gt=0)] = 0.07  # of InfoNCE
        delta: Annotated[Number, Scheduled(ge=0)] = 1.0  # weight of L_aug
        alpha: Annotated[Number, Scheduled(ge=0)] = 1.0  # weight of R
        margins: Margins = "large"
        hidden: Count = 2048  # width of the generators
        reduction: Literal["mean", "sum"] = "mean"  # over the two directions

    spec: Spec
    about = About(
        source="2203.05119",
        use="few pairs or weak augmentations: harder features are made of the embeddings; `train.step: bilevel`",
        cost="4 times OUCL, and a second pass of the heads with second derivatives; an MLP a side",
    )

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.generators = nn.ModuleDict()

    def prepare(self, groups: Sequence[tuple[str, ...]], dims: Mapping[str, int]) -> None:
        """A generator for every side."""
        for side in dict.fromkeys(side for sides in groups for side in sides):
            self.generators[side] = Generator(dims[side], self.spec.hidden)

    def outer_parameters(self) -> Sequence[nn.Parameter]:
        """The generators'."""
        return list(self.generators.parameters())

    def forward(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The towers' loss; parts: `loss`, `original`, `augmented`."""
        share, parts = self._contrasts(embeddings, sides, self._pairs(embeddings, sides))
        return Loss(share * world_size(), self._parts(share, parts))

    def outer(self, embeddings: Embeddings, *sides: str) -> Loss:
        """The generators' loss; parts: those of `forward`, `margin` R, and the shares `active_positives` and
        `active_negatives` of the augmented pairs that do not keep their margin yet (0: R has no gradient).
        """
        with torch.autocast(embeddings.ids.device.type, enabled=False):
            pairs = self._pairs(embeddings, sides)
            share, parts = self._contrasts(embeddings, sides, pairs)
            sums = self._margins(embeddings, sides, pairs)
            share = share + value_at(self.spec.alpha, embeddings.clock) * (sums[0] + sums[1])
            parts |= {"margin": sums[0] + sums[1], "active_positives": sums[2], "active_negatives": sums[3]}
            return Loss(share * world_size(), self._parts(share, parts))

    def _pairs(self, embeddings: Embeddings, sides: tuple[str, ...]) -> list[tuple[Tensor, Tensor]]:
        """The original pair, and the three augmented ones [N, D]."""
        first, second = two_views(embeddings, sides)
        a, k = (self._generator(side, z)(z) for side, z in ((sides[0], first), (sides[-1], second)))
        return [(first, second), (a, second), (first, k), (a, k)]

    def _generator(self, side: str, z: Tensor) -> nn.Module:
        if side not in self.generators:  # used as a plain library
            self.generators[side] = Generator(z.shape[1], self.spec.hidden).to(z)
        return self.generators[side]

    def _contrasts(
        self, embeddings: Embeddings, sides: tuple[str, ...], pairs: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """This process's share of `L_ori + delta L_aug`, and of both."""
        rows = self._rows(embeddings)
        found = [both_directions(rows, *pair, embeddings, sides, self.spec.reduction) for pair in pairs]
        augmented = torch.stack(found[1:]).mean()
        share = found[0] + value_at(self.spec.delta, embeddings.clock) * augmented
        return share, {"original": found[0], "augmented": augmented}

    def _margins(self, embeddings: Embeddings, sides: tuple[str, ...], pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """This process's shares [4] of the means of both hinges, and of the active shares."""
        rows: Rows = partial(margin_rows, margins=self.spec.margins)
        swapped = [(second, first) for first, second in pairs]
        sums = sum(anchor_rows(rows, group, embeddings, sides).sum(0) for group in (pairs, swapped))
        positives = embeddings.same(*sides).count
        negatives = len(embeddings) - positives
        counts = torch.stack([positives[negatives > 0].sum(), negatives.sum()]) * (2 * (len(pairs) - 1))
        return sums / counts.clamp(min=1).repeat(2)

    def _rows(self, embeddings: Embeddings) -> Rows:
        spec, clock = self.spec, embeddings.clock
        if spec.contrast == "oucl":
            beta, gamma = value_at(spec.beta, clock), value_at(spec.gamma, clock)
            return lambda positive, d: oucl_rows(positive, d, beta, gamma, spec.detach_weights)
        return partial(_infonce_rows, scale=1 / value_at(spec.temperature, clock))

    def _parts(self, share: Tensor, others: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of the whole batch."""
        names = ["loss", *others]
        values = all_sum(torch.stack([share, *others.values()]).detach())
        return dict(zip(names, values, strict=True))


def _infonce_rows(positive: Tensor, d: Tensor, scale: float) -> Tensor:
    """`LSE_j(s cos_ij)` less the mean over the positives of `s cos_ij` [rows]."""
    logits = scale * (2 * d - 1)
    return logits.logsumexp(1) - (logits * positive).sum(1) / positive.sum(1)
