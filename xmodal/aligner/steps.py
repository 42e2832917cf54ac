"""Pooled features and the steps they were pooled from, as one tensor: what encoding in chunks gives back.

Axes: B items, T' steps, W of a step and of the pooled vector.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xmodal.batch import Rows
from xmodal.errors import UserError
from xmodal.frames import Frames
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import Objective
from xmodal.towers.sequence_heads import SequenceHead
from xmodal.towers.tower import Tower


class Pooled(NamedTuple):
    """What a head over sequences makes of B items."""

    features: Tensor  # [B, W]
    steps: Frames  # [B, T', W]


def packed(tower: Tower, rows: Rows) -> Tensor:
    """[B, 1 + W + T' W]: lengths, features and steps of each item side by side, fp32 or float64."""
    features, steps = tower.features_and_steps(rows)
    dtype = sum_type(features, steps.values)
    return torch.cat([steps.lengths[:, None].to(dtype), features.to(dtype), steps.values.flatten(1).to(dtype)], dim=1)


def unpacked(rows: Tensor, width: int) -> Pooled:
    """What `packed` was made of; `width` is W."""
    steps = rows[:, 1 + width :].unflatten(1, (-1, width))
    return Pooled(rows[:, 1 : 1 + width], Frames(steps, rows[:, 0].detach().long()))


def sides_with_steps(objective: Objective, groups: Sequence[tuple[str, ...]]) -> set[str]:
    """The sides whose steps an objective asks for."""
    return {need.side for group in groups for need in objective.spec.needs(*group) if need.what == "sequence"}


def require_steps(side: str, tower: Tower) -> None:
    """Raise `UserError` where a tower's head sees no sequence."""
    if not isinstance(tower.head, SequenceHead):
        raise UserError(
            f"towers.{side}.head: an objective needs the steps that it pools, and a {type(tower.head).__name__} head "
            "sees none; set a head over sequences: head: {kind: transformer}"
        )
