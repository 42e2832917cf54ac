"""What travels: what towers get (`PairBatch`), what an objective sees (`Embeddings`), what it returns (`Loss`).

Axes: B pairs of one process, N pairs of the global batch, D embedding, G guide features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xmodal.errors import UserError
from xmodal.frames import Frames
from xmodal.same_items import SameItems

Rows = dict[str, Tensor]  # a padded batch of one side, as its tower's processor makes it
NO_LABEL = -1


@dataclass(frozen=True)
class Clock:
    """Where training stands: the step being made (0-based) of all steps. Schedules read it."""

    step: int = 0
    steps: int = 1

    @property
    def progress(self) -> float:
        """0 at the first step, 1 at the last."""
        return min(1.0, self.step / max(1, self.steps - 1))


@dataclass
class PairBatch:
    """B aligned items of this process.

    `ids` names pairs; `item_ids[side]` names what is in them: equal item ids are the same item (five captions
    share one image) and are never each other's negatives. `skipped` lists items that could not be read, with the
    reason; they are not in the batch.
    """

    inputs: dict[str, Rows]  # side -> its items, view 0
    ids: Tensor  # [B] int64
    item_ids: dict[str, Tensor]  # [B] int64 each
    names: tuple[str, ...] = ()  # the pair ids as written in the manifest
    labels: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))  # [B], -1: none; left out: all -1
    skipped: list[tuple[str, str]] = field(default_factory=list)
    views: dict[str, tuple[Rows, ...]] = field(default_factory=dict)  # side -> views 1, 2, ... (`training_views`)
    teachers: dict[str, Tensor] = field(default_factory=dict)  # side -> its teacher's embeddings [B, Dt]
    clock: Clock = Clock()

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.ids):
            self.labels = torch.full_like(self.ids, NO_LABEL)

    def __len__(self) -> int:
        return len(self.ids)

    def view(self, side: str, view: int = 0) -> Rows:
        """The items of a side in one of their views."""
        if view > len(self.views.get(side, ())):
            raise UserError(
                f"objective: it asks for view {view} of {side}, and the run makes {1 + len(self.views.get(side, ()))}; "
                f'list Need("views", side, {view + 1}) in its Spec.needs'
            )
        return self.views[side][view - 1] if view else self.inputs[side]

    def to(self, device: torch.device) -> "PairBatch":
        """The same batch with every tensor on `device`."""

        def moved(rows: Rows) -> Rows:
            return {name: value.to(device, non_blocking=True) for name, value in rows.items()}

        return replace(
            self,
            inputs={side: moved(rows) for side, rows in self.inputs.items()},
            ids=self.ids.to(device),
            item_ids={side: ids.to(device) for side, ids in self.item_ids.items()},
            labels=self.labels.to(device),
            views={side: tuple(map(moved, views)) for side, views in self.views.items()},
            teachers=moved(self.teachers),
        )


Source = Callable[[str, str, int], Tensor]  # (what, side, view) -> the gathered rows of it (codes: own rows)
SequenceSource = Callable[[str, int], Frames]  # (side, view) -> this process's rows


class Embeddings:
    """What an objective sees: the gathered batch, rows in rank order, and which rows are this process's own.

    Everything but the ids is made when it is first asked for, and kept. Making it may communicate, so all processes
    must ask for the same things in the same order: an objective must not let its own rows decide what it asks for.

    Args:
        source: makes what is asked for, already gathered.
        ids: [N] int64, of the pairs.
        item_ids: side -> [N] int64, of what is in them.
        local: this process's rows.
        labels: [N] int64, -1 for none.
        clock: where training stands.
        banks: side -> every embedding of its store, as keys.
        sequences: makes the steps of a side with a head over sequences, of this process's rows.
    """

    def __init__(
        self,
        source: Source,
        ids: Tensor,
        item_ids: Mapping[str, Tensor],
        local: slice,
        labels: Tensor,
        clock: Clock = Clock(),
        banks: Mapping[str, Any] | None = None,
        sequences: SequenceSource | None = None,
    ) -> None:
        self._source, self._made = source, dict[tuple[str, str, int], Tensor]()
        self._same: dict[tuple[str, ...], SameItems] = {}
        self.ids, self.item_ids, self.labels = ids, dict(item_ids), labels
        self.local, self.clock, self._banks = local, clock, dict(banks or {})
        self._sequences, self._steps = sequences, dict[tuple[str, int], Frames]()

    @classmethod
    def of(
        cls,
        *,
        ids: Tensor | None = None,
        item_ids: Mapping[str, Tensor] | None = None,
        labels: Tensor | None = None,
        local: slice | None = None,
        clock: Clock = Clock(),
        banks: Mapping[str, Any] | None = None,
        guide: Mapping[str, Tensor] | None = None,
        raw: Mapping[str, "Tensor | Sequence[Tensor]"] | None = None,
        features: Mapping[str, "Tensor | Sequence[Tensor]"] | None = None,
        target: Mapping[str, "Tensor | Sequence[Tensor]"] | None = None,
        predicted: Mapping[str, "Tensor | Sequence[Tensor]"] | None = None,
        sequence: Mapping[str, "Frames | Sequence[Frames]"] | None = None,
        teacher: Mapping[str, Tensor] | None = None,
        codes: Mapping[str, "Tensor | Sequence[Tensor]"] | None = None,
        **sides: "Tensor | Sequence[Tensor]",
    ) -> "Embeddings":
        """Embeddings that are there already: objectives as a plain library.

        Each side is z [N, D], unit norm, or a list of its views. Left out: ids 0 to N-1, item ids the pairs' ids, no
        labels, all rows local, the guide of a side its own z.

        Raises:
            UserError: no side; a side that is no floating-point [N, D], or has other rows than the first; ids or labels
                that are not [N].

        Example:
            e = Embeddings.of(speech=z, text=k)
            CWCL(temperature=0.07)(e, "speech", "text").value.backward()
        """
        views = {name: [given] if isinstance(given, Tensor) else list(given) for name, given in sides.items()}
        first = _require_rows(views)
        ids = torch.arange(len(first), device=first.device) if ids is None else ids
        columns = {"ids": ids, "labels": labels} | {f"item_ids of {side}": of for side, of in (item_ids or {}).items()}
        for name, column in columns.items():
            if column is not None and tuple(getattr(column, "shape", ())) != (len(first),):
                found = f"{type(column).__name__} {tuple(getattr(column, 'shape', ()))}"
                raise UserError(f"{name}: found {found}, expected a tensor with one of each row, ({len(first)},)")
        given: dict[str, Any] = {"z": sides, "raw": raw, "features": features, "target": target}
        given |= {"predicted": predicted, "sequence": sequence, "teacher": teacher, "codes": codes}

        def source(what: str, side: str, view: int) -> Tensor:
            if what == "guide":
                return (guide or {}).get(side, views[side][0]).detach() if side in views else (guide or {})[side]
            return view_of(what, side, view)

        def view_of(what: str, side: str, view: int) -> Any:
            found = (given[what] or {}).get(side)
            if found is None:
                raise UserError(f"these embeddings have no {what} of {side!r}: give Embeddings.of({what}={{...}})")
            found = [found] if isinstance(found, Tensor | Frames) else found
            if view >= len(found):
                raise UserError(f"these embeddings have {len(found)} views of {side!r}: view {view} is not given")
            return found[view]

        return cls(
            source,
            ids,
            dict.fromkeys(sides, ids) | dict(item_ids or {}),
            slice(0, len(ids)) if local is None else local,
            torch.full_like(ids, NO_LABEL) if labels is None else labels,
            clock,
            banks,
            lambda side, view: view_of("sequence", side, view),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def z(self, side: str, view: int = 0) -> Tensor:
        """[N, D], unit norm, with gradient."""
        return self._get("z", side, view)

    def raw(self, side: str, view: int = 0) -> Tensor:
        """[N, D], the head's output before normalisation, with gradient."""
        return self._get("raw", side, view)

    def features(self, side: str, view: int = 0) -> Tensor:
        """[N, G], before the head; with gradient where the backbone trains."""
        return self._get("features", side, view)

    def guide(self, side: str) -> Tensor:
        """[N, G], the features before the head, unit norm, no gradient: what says who is similar to whom."""
        return self._get("guide", side, 0)

    def target(self, side: str, view: int = 0) -> Tensor:
        """[N, D], unit norm, no gradient: of the momentum tower; of a side that never changes, its own z."""
        return self._get("target", side, view)

    def predicted(self, side: str, view: int = 0) -> Tensor:
        """[N, D], the predictor's output, not normalised, with gradient."""
        return self._get("predicted", side, view)

    def sequence(self, side: str, view: int = 0) -> Frames:
        """Steps [n, T, W] of this process's own rows, with gradient: what the side's head over sequences pools.

        Raises `UserError` where no such head, or no `Need("sequence", side)`, has it made.
        """
        self._require_side(side)
        if self._sequences is None:
            raise UserError(f"these embeddings have no sequence of {side!r}")
        if (side, view) not in self._steps:
            self._steps[side, view] = self._sequences(side, view)
        return self._steps[side, view]

    def teacher(self, side: str) -> Tensor:
        """[N, Dt], unit norm, no gradient: a frozen teacher's embeddings of the items as they are, without views."""
        return self._get("teacher", side, 0)

    def codes(self, side: str, view: int = 0) -> Tensor:
        """[n, groups, entries] of this process's rows alone: how likely the head's codebooks make each entry."""
        return self._get("codes", side, view)

    def bank(self, side: str) -> Any:
        """The side's whole store as keys (a `KeyBank`). Raises `UserError` where it has none."""
        if side not in self._banks:
            raise UserError(f"objective: {side} has no store to take keys from; set towers.{side}.kind=store")
        return self._banks[side]

    def same(self, *by: str) -> SameItems:
        """Which items are the same: equal in any of the sides named, or, for "label", of one label.

        Rows without a label are the same as none but themselves.
        """
        if by not in self._same:
            for name in by:
                self._require_side(name, *([] if name == "label" else ["label"]))
            groups = [self._labels_as_ids() if name == "label" else self.item_ids[name] for name in by]
            self._same[by] = SameItems(*groups)
        return self._same[by]

    def _labels_as_ids(self) -> Tensor:
        alone = -1 - torch.arange(len(self), device=self.labels.device)
        return torch.where(self.labels == NO_LABEL, alone, self.labels)

    def _require_side(self, side: str, *others: str) -> None:
        if side != "label" and side not in self.item_ids:
            raise UserError(f"objective: no side {side!r}; expected one of {', '.join([*self.item_ids, *others])}")

    def _get(self, what: str, side: str, view: int) -> Tensor:
        self._require_side(side)
        key = (what, side, view)
        if key not in self._made:
            self._made[key] = self._source(*key)
        return self._made[key]


@dataclass(frozen=True)
class Loss:
    """What an objective returns.

    `value` is what to call backward on: this process's share of the loss, times the number of processes, so that its
    gradient, averaged over processes, is that of the whole batch (see `distributed.py`).

    `parts` are detached scalars for the log, already those of the whole batch, equal on every process. `loss` is
    always there: the loss of the whole batch. Any other name may be there at some steps and not at others; the log
    shows its mean over the steps that had it.
    """

    value: Tensor  # [] with gradient
    parts: dict[str, Tensor]  # name -> []


def _require_rows(sides: Mapping[str, list[Tensor]]) -> Tensor:
    """The first view of the first side. Raises `UserError` where a view is no [N, D] of floating point, N as there."""
    if not sides or not all(sides.values()):
        where = next((side for side, views in sides.items() if not views), "Embeddings.of")
        raise UserError(f"{where}: nothing given; give sides by name, as Embeddings.of(speech=z, text=k)")
    first = next(iter(sides.values()))[0]
    for side, views in sides.items():
        for z in views:
            if not isinstance(z, Tensor):
                raise UserError(f"{side}: found {type(z).__name__}, expected a tensor (N, D); see torch.as_tensor")
            found = f"{side}: found {str(z.dtype).removeprefix('torch.')} {tuple(z.shape)}"
            if z.dim() != 2 or not z.is_floating_point():
                raise UserError(f"{found}, expected embeddings of floating point, (N, D)")
            if len(z) != len(first):
                raise UserError(f"{found}, expected {len(first)} rows, as the first side has: row i of each is pair i")
    return first
