"""What travels: what towers get (`PairBatch`), what an objective sees (`Embeddings`), what it returns (`Loss`).

Axes: B pairs of one process, N pairs of the global batch, D embedding, G guide features.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class PairBatch:
    """B aligned items of this process.

    `ids` names pairs; `item_ids[modality]` names what is in them: equal item ids are the same item (five captions
    share one image) and are never each other's negatives. `skipped` lists items that could not be read, with the
    reason; they are not in the batch.
    """

    inputs: dict[str, dict[str, Tensor]]
    ids: Tensor  # [B] int64
    item_ids: dict[str, Tensor]  # [B] int64 each
    names: tuple[str, ...] = ()  # the pair ids as written in the manifest
    labels: Tensor | None = None  # [B] int64
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "PairBatch":
        """The same batch with every tensor on `device`."""
        return PairBatch(
            inputs={m: {k: v.to(device, non_blocking=True) for k, v in x.items()} for m, x in self.inputs.items()},
            ids=self.ids.to(device),
            item_ids={m: v.to(device) for m, v in self.item_ids.items()},
            names=self.names,
            labels=None if self.labels is None else self.labels.to(device),
            skipped=self.skipped,
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
