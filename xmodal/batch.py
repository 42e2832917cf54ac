"""What travels: what towers get (`PairBatch`), what an objective sees (`Embeddings`), what it returns (`Loss`).

Axes: B pairs of one process, N pairs of the global batch, D embedding, G guide features.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

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
    labels: Tensor = field(default_factory=lambda: torch.empty(0))  # [B] int64, -1 for none; left out: none has one
    skipped: list[tuple[str, str]] = field(default_factory=list)
    views: dict[str, tuple[Rows, ...]] = field(default_factory=dict)  # side -> views 1, 2, ... (`training_views`)
    clock: Clock = Clock()

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.ids):
            self.labels = torch.full_like(self.ids, NO_LABEL)

    def __len__(self) -> int:
        return len(self.ids)

    def view(self, side: str, view: int = 0) -> Rows:
        """The items of a side in one of their views."""
        return self.views[side][view - 1] if view else self.inputs[side]

    def to(self, device: torch.device) -> "PairBatch":
        """The same batch with every tensor on `device`."""

        def moved(rows: Rows) -> Rows:
            return {name: value.to(device, non_blocking=True) for name, value in rows.items()}

        return PairBatch(
            inputs={side: moved(rows) for side, rows in self.inputs.items()},
            ids=self.ids.to(device),
            item_ids={side: ids.to(device) for side, ids in self.item_ids.items()},
            names=self.names,
            labels=self.labels.to(device),
            skipped=self.skipped,
            views={side: tuple(map(moved, views)) for side, views in self.views.items()},
            clock=self.clock,
        )


@dataclass(frozen=True)
class Embeddings:
    """What an objective sees: the gathered batch, rows in rank order, and which rows are this process's own."""

    z: dict[str, Tensor]  # modality -> [N, D], unit norm
    guide: dict[str, Tensor]  # modality -> [N, G], unit norm, no gradient
    ids: Tensor  # [N] int64
    item_ids: dict[str, Tensor]  # [N] int64 each
    local: slice  # this process's rows
    labels: Tensor | None = None  # [N]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Loss:
    """`value` is what to call backward on: its gradient, averaged over processes, is the whole batch's gradient.

    `parts` are detached numbers for the log, already those of the whole batch, equal on every process.
    """

    value: Tensor  # [] with gradient
    parts: dict[str, Tensor]  # name -> []
