"""Towers, momentum targets, predictors and the terms of the loss in ONE module, so that DDP wraps once.

Input: this process's `PairBatch`. Output: a `Loss` whose gradient, averaged over processes, is that of the whole
batch. Large batches need no other path: backbones encode in chunks that are encoded again in the backward pass
(`chunked.py`), so of the batch only inputs and features are kept, and neither value nor gradient changes.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xmodal.aligner.chunked import features_in_chunks, joined
from xmodal.aligner.own_rows import Fixed, OwnRows, like, nothing, teacher_rows
from xmodal.aligner.steps import Pooled, packed, require_steps, sides_with_steps, unpacked
from xmodal.aligner.target import MomentumTarget
from xmodal.batch import Embeddings, Loss, PairBatch, Rows
from xmodal.config.schedule import value_at
from xmodal.config.terms.terms import ONLY
from xmodal.distributed import all_gather_rows, gather, own_rows, row_counts
from xmodal.errors import UserError
from xmodal.frames import Frames
from xmodal.objectives.engine.second_order import is_twice_differentiable
from xmodal.objectives.objective import Objective
from xmodal.towers.timed import Timed
from xmodal.towers.tower import Tower


@dataclass(frozen=True)
class Term:
    """An objective under its name in the run, and the sides of each of its calls."""

    name: str
    objective: Objective
    groups: tuple[tuple[str, ...], ...]


class Aligner(nn.Module):
    """Encode what the terms ask for, gather over processes, and sum the terms.

    Args:
        towers: side -> tower.
        terms: of the loss.
        chunk: items a backbone encodes at a time; None encodes the batch at once.
        targets: side -> momentum target.
        predictors: side -> module [B, D] -> [B, D], on the head's output before normalisation.
        banks: side -> its store's keys.

    Raises:
        UserError: chunking with BatchNorm in a backbone that trains (its statistics would be the chunk's); a term that
            asks for the steps of a side whose head pools none.
    """

    def __init__(
        self,
        towers: Mapping[str, Tower],
        terms: Sequence[Term],
        chunk: int | None = None,
        targets: Mapping[str, MomentumTarget] | None = None,
        predictors: Mapping[str, nn.Module] | None = None,
        banks: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(towers)
        self.terms = nn.ModuleDict({term.name: term.objective for term in terms})
        self.targets = nn.ModuleDict(targets or {})
        self.predictors = nn.ModuleDict(predictors or {})
        self.groups = {term.name: term.groups for term in terms}
        self.chunk, self.banks = chunk, dict(banks or {})
        self._last: Embeddings | None = None
        dims = {side: tower.dim for side, tower in towers.items()}
        self.stepped = set().union(*(sides_with_steps(term.objective, term.groups) for term in terms))
        for side in sorted(self.stepped):
            require_steps(side, towers[side])
        for term in terms:
            sides = sorted(sides_with_steps(term.objective, term.groups))
            term.objective.prepare_sequences({side: towers[side].width for side in sides})
            term.objective.prepare(term.groups, dims)
        for side, tower in towers.items() if chunk is not None else ():
            trained = not (tower.locked or tower.adapted)
            if trained and any(isinstance(m, _BatchNorm) for m in tower.backbone.modules()):
                raise UserError(
                    f"train.chunk: the {side} tower trains BatchNorm, whose statistics would be those of a chunk, "
                    "not of the batch; lock the tower, choose one with LayerNorm, or leave train.chunk out"
                )

    def tower(self, side: str) -> Tower:
        """The tower of a side."""
        tower = self.towers[side]
        assert isinstance(tower, Tower)
        return tower

    def term(self, name: str) -> Objective:
        """A term's objective."""
        objective = self.terms[name]
        assert isinstance(objective, Objective)
        return objective

    # --------------------------------------------------------------------------------------------------- embedding

    def features(self, side: str, rows: Rows) -> Tensor:
        """A backbone's features [B, G], in chunks where asked for; of no rows, with gradients that are zeros.

        A backbone at rest has gradients of zeros too: DDP waits for them, and the optimizer never sees them.
        """
        tower = self.tower(side)
        size = len(next(iter(rows.values())))
        if size == 0:
            return like(tower, rows).new_zeros((0, tower.width)) + nothing(tower)
        features = self.encoded(tower, tower.features, rows)
        return features + nothing(tower.backbone) if tower.resting else features

    def pooled(self, side: str, rows: Rows) -> Pooled:
        """As `features`, with the steps that the head pooled, of the same pass."""
        tower, size = self.tower(side), len(next(iter(rows.values())))
        if size == 0:
            none = self.features(side, rows)
            return Pooled(none, Frames(none[:, None], torch.zeros(0, dtype=torch.long, device=none.device)))
        features, steps = unpacked(self.encoded(tower, functools.partial(packed, tower), rows), tower.width)
        return Pooled(features + nothing(tower.backbone) if tower.resting else features, steps)

    def encoded(self, tower: Tower, encode: Callable[[Rows], Tensor], rows: Rows) -> Tensor:
        """What `encode` makes of at least one row with a tower's backbone [B, ...], in chunks where asked for."""
        size = len(next(iter(rows.values())))
        if self.chunk is None or size <= self.chunk:
            return encode(rows)
        chunks = [{k: v[at : at + self.chunk] for k, v in rows.items()} for at in range(0, size, self.chunk)]
        trained = tower.feature_parameters()
        if trained and torch.is_grad_enabled():
            return features_in_chunks(encode, chunks, trained)
        return joined([encode(chunk) for chunk in chunks])

    @torch.no_grad()
    def fixed_features(self, batch: PairBatch) -> Fixed:
        """What the backbones say of every side and view, for heads that run alone."""
        return {
            (side, view): (self.pooled if side in self.stepped else self.features)(side, batch.view(side, view))
            for side in batch.inputs
            for view in range(1 + len(batch.views.get(side, ())))
        }

    def embeddings(self, batch: PairBatch, features: Fixed | None = None) -> Embeddings:
        """The gathered batch as objectives see it. Every process must call it at the same step.

        `features`, of this process's rows by side and view, stand in for the backbones: heads alone run.
        """
        for module in self.modules():  # also of the copies that are targets
            if isinstance(module, Timed):
                module.at(batch.clock)
        counts = row_counts(batch.ids)
        own = OwnRows(self, batch, features or {})
        # towers run as the caller said, whatever is set where an objective first asks for them
        kind = batch.ids.device.type
        precision = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)

        def source(what: str, side: str, view: int) -> Tensor:
            if what == "teacher":
                return all_gather_rows(teacher_rows(batch, side), counts)
            tower = self.tower(side)
            if what == "target" and side not in self.targets:
                if not tower.guides:
                    raise UserError(f"targets.{side}: an objective needs the momentum target of {side}; set it")
                what = "z"  # a side that never changes is its own target
            if what == "guide" and tower.guides:
                what = "z"  # locked and without a head: the embedding is the guide
            with torch.autocast(*precision):
                rows = own.get(what, side, view)
            rows = rows.to(torch.promote_types(rows.dtype, torch.float32))  # halves do not leave the towers
            if what == "codes":
                return rows
            fixed = what in ("guide", "target") or (tower.guides if what in ("z", "raw") else False)
            fixed = fixed or (what == "features" and tower.features_stay)
            return (all_gather_rows if fixed else gather)(rows, counts)

        def sequences(side: str, view: int) -> Frames:
            with torch.autocast(*precision):
                return own.steps(side, view)

        return Embeddings(
            source,
            ids=all_gather_rows(batch.ids, counts),
            item_ids={side: all_gather_rows(ids, counts) for side, ids in batch.item_ids.items()},
            local=own_rows(counts),
            labels=all_gather_rows(batch.labels, counts),
            clock=batch.clock,
            banks=self.banks,
            sequences=sequences,
        )

    # -------------------------------------------------------------------------------------------------------- loss

    def forward(self, batch: PairBatch, features: Fixed | None = None, outer: bool = False) -> Loss:
        """The loss of the whole batch; logits and weights are computed in fp32 whatever the towers ran in.

        `features` as in `embeddings`; `outer` sums the terms' outer problems (see `training/steps.py`).
        """
        embeddings = self.embeddings(batch, features)
        if not is_twice_differentiable():  # a virtual step is none that anything follows
            self._last = embeddings
        values: list[Tensor] = []
        totals: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        calls = [(name, group) for name, groups in self.groups.items() for group in groups]
        with torch.autocast(batch.ids.device.type, enabled=False):
            for name, group in calls:
                objective = self.term(name)
                if outer and not objective.outer_parameters():
                    continue
                loss = _checked(
                    objective.outer(embeddings, *group) if outer else objective(embeddings, *group), objective
                )
                weight = value_at(objective.spec.weight, batch.clock)
                values.append(loss.value * weight if weight != 1 else loss.value)
                totals.append(loss.parts["loss"] * weight)
                prefix = "" if name == ONLY else f"{name}/"
                prefix += f"{'-'.join(group)}/" if len(self.groups[name]) > 1 else ""
                parts |= {f"{prefix}{part}": value for part, value in loss.parts.items()}
        parts["loss"] = torch.stack(totals).sum()
        return Loss(values[0] if len(values) == 1 else torch.stack(values).sum(), parts)

    @torch.no_grad()
    def after_step(self) -> None:
        """What follows an update: objectives (queues, clamps), then momentum targets."""
        embeddings, self._last = self._last, None
        if embeddings is None:
            return
        for name in self.terms:
            self.term(name).after_step(embeddings)
        for side, target in self.targets.items():
            assert isinstance(target, MomentumTarget)
            target.follow(self.tower(side), embeddings.clock)


def _checked(loss: Any, objective: Objective) -> Loss:
    """What an objective returned, its parts detached. Raises `UserError` where it is no loss."""
    name = type(objective).__name__
    if not isinstance(loss, Loss):
        raise UserError(f"objective: {name}.forward returned a {type(loss).__name__}, expected a Loss(value, parts)")
    if loss.value.ndim or "loss" not in loss.parts:
        found = f"a value of shape {list(loss.value.shape)} and the parts {', '.join(loss.parts) or 'none'}"
        raise UserError(f"objective: {name}.forward returned {found}; expected one number, and `loss` among the parts")
    if torch.is_grad_enabled() and not loss.value.requires_grad:
        raise UserError(f"objective: the value that {name}.forward returned has no gradient; was it detached?")
    return Loss(loss.value, {part: value.detach() for part, value in loss.parts.items()})
