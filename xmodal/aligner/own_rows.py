"""What one process's towers, targets and predictors make of its own rows of the batch, each thing once.

Rows may be none (the end of an uneven epoch): what stands in for them carries gradients of zeros, which DDP waits for.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.aligner.steps import Pooled
from xmodal.aligner.target import MomentumTarget
from xmodal.batch import PairBatch, Rows
from xmodal.errors import UserError
from xmodal.frames import Frames
from xmodal.towers.batch_norm import over_processes
from xmodal.towers.tower import Tower, TowerOutput

if TYPE_CHECKING:
    from xmodal.aligner.aligner import Aligner

Fixed = Mapping[tuple[str, int], Tensor | Pooled]  # (side, view) -> features of this process's rows


class OwnRows:
    """What is computed of this process's rows, each thing once."""

    def __init__(self, aligner: "Aligner", batch: PairBatch, given: Fixed) -> None:
        self.aligner, self.batch, self.given = aligner, batch, given
        self._features: dict[tuple[str, int], Tensor] = {}
        self._steps: dict[tuple[str, int], Frames] = {}
        self._outputs: dict[tuple[str, int], TowerOutput] = {}

    def get(self, what: str, side: str, view: int) -> Tensor:
        """`what` an objective asks for (features, z, raw, guide, predicted, target, codes) [B, width of it]."""
        if what == "features":
            return self.features(side, view)
        if what == "target":
            return self._target(side, view)
        if what == "codes":
            tower = self.aligner.tower(side)
            return tower.codes(self.features(side, view)) + nothing(tower.head)  # of all that the head has
        output = self.output(side, view)
        if what == "predicted":
            if side not in self.aligner.predictors:
                raise UserError(f"targets.{side}.predictor: an objective needs the predictor of {side}; set it")
            predictor = self.aligner.predictors[side]
            if not len(output.raw) and not over_processes(predictor):
                return output.raw + nothing(predictor)
            predicted: Tensor = predictor(output.raw)
            return predicted
        found: Tensor = getattr(output, what)
        return found

    def features(self, side: str, view: int) -> Tensor:
        """The backbone's features [B, G], or those given in their place."""
        key = (side, view)
        if key not in self._features:
            rows, stand_in = self.batch.view(side, view), self.given.get(key)
            if stand_in is None:
                stepped = side in self.aligner.stepped
                stand_in = self.aligner.pooled(side, rows) if stepped else self.aligner.features(side, rows)
            if isinstance(stand_in, Pooled):
                self._features[key], self._steps[key] = stand_in
            else:
                self._features[key] = stand_in
        return self._features[key]

    def steps(self, side: str, view: int) -> Frames:
        """The steps that the head pools. Raises `UserError` where no term said that it needs them."""
        if side not in self.aligner.stepped:
            raise UserError(
                f"objective: it asks for the sequence of {side}, which is not made; "
                f'list Need("sequence", side) in its Spec.needs'
            )
        self.features(side, view)
        return self._steps[side, view]

    def output(self, side: str, view: int) -> TowerOutput:
        """What the tower's head makes of the features."""
        key = (side, view)
        if key not in self._outputs:
            tower, features = self.aligner.tower(side), self.features(side, view)
            if len(features) or over_processes(tower.head):
                self._outputs[key] = tower.project(features)
            else:  # torch's BatchNorm in a head takes no empty batch; its gradients are zeros, not missing
                empty = features.new_zeros((0, tower.dim)) + nothing(tower)
                self._outputs[key] = TowerOutput(z=empty, guide=features.detach(), raw=empty)
        return self._outputs[key]

    @torch.no_grad()
    def _target(self, side: str, view: int) -> Tensor:
        target, rows, tower = self.aligner.targets[side], self.batch.view(side, view), self.aligner.tower(side)
        assert isinstance(target, MomentumTarget)
        if not isinstance(target.copied, Tower):
            features = self.features(side, view)
        elif len(next(iter(rows.values()))):
            features = self.aligner.encoded(target.copied, target.copied.features, rows)
        else:
            features = like(tower, rows).new_zeros((0, tower.width))
        if len(features) or over_processes(target.head):
            return target.project(features)
        return features.new_zeros((0, tower.dim))


def teacher_rows(batch: PairBatch, side: str) -> Tensor:
    """[B, Dt], unit norm."""
    if side not in batch.teachers:
        raise UserError(f'teachers.{side}: an objective needs the teacher of {side}; list Need("teacher", side)')
    return F.normalize(batch.teachers[side], dim=-1)


def like(tower: Tower, rows: Rows) -> Tensor:
    """A tensor of the type and on the device of a tower's output."""
    return next(iter(tower.parameters()), next(iter(rows.values())))


def nothing(module: nn.Module) -> Tensor:
    """0, with a gradient of zeros for every parameter that trains: DDP waits for all of them."""
    return sum((p.flatten()[:0].sum() for p in module.parameters() if p.requires_grad), start=torch.zeros(()))
