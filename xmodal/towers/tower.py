"""A tower: one modality's backbone and head, whose output is unit norm; and what a tower's processor must offer.

Enters: a padded batch made by the tower's processor. Leaves: `TowerOutput`. This is the only place where anything is
normalised. Axes: B items, T steps of an item, F feature bins, G backbone features, D embedding.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.towers.lora import is_update, set_training


class Processor(Protocol):
    """What turns items into a tower's input. `kind` says what one item is.

    text: a str; audio: a float32 waveform [T], mono, at `sample_rate`; image: a `PIL.Image.Image` in RGB; item_id: an
    int that names a store's row.
    """

    @property
    def kind(self) -> Literal["text", "audio", "image", "item_id"]:
        """What one item is."""
        ...

    @property
    def sample_rate(self) -> int | None:
        """Hz, audio only."""
        ...

    @property
    def log_mel(self) -> bool:
        """Are the features log-mel [T, F], so that augmentation of log-mel features applies?"""
        ...

    def features(self, item: Any) -> np.ndarray:
        """One item's features, without padding; the same item always gives the same features."""
        ...

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """A padded batch; how far it is padded changes no embedding."""
        ...

    def describe(self) -> dict[str, Any]:
        """Everything besides the weights that decides a tower's features, for JSON."""
        ...


@dataclass(frozen=True)
class TowerOutput:
    """What a tower says about B items."""

    z: Tensor  # [B, D] unit norm
    guide: Tensor  # [B, G] unit norm, no gradient: the features before the head
    raw: Tensor  # [B, D] the head's output before normalisation


class Tower(nn.Module):
    """Backbone, head, unit norm: z = h / |h| with h = head(backbone(x)).

    Args:
        backbone: module with `.width` (G) and forward(inputs: dict[str, Tensor]) -> [B, G].
        head: module with `.dim` (D), [B, G] -> [B, D] (see `heads.py`).
        locked: the backbone never changes: no gradient, and evaluation mode for ever (requires_grad=False alone
            would leave dropout and BatchNorm running). The head still trains.
        adapted: low-rank updates inside the backbone train (see `lora.py`) and the rest of it stays, in evaluation
            mode for ever. Such a tower is not locked: its features change.

    Example:
        tower = Tower(SpeechEncoder(), Linear(144, 384))
        tower(processor.collate([processor.features(wave)])).z  # [1, 384]
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, locked: bool = False, adapted: bool = False):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.locked = locked
        self.adapted = adapted
        if locked:
            backbone.requires_grad_(False)
        self.train()

    @property
    def width(self) -> int:
        """G, the backbone's features."""
        return self.backbone.width  # type: ignore[return-value]

    @property
    def dim(self) -> int:
        """D, the embedding."""
        return self.head.dim  # type: ignore[return-value]

    @property
    def guides(self) -> bool:
        """Is the embedding itself fixed: a locked backbone without a head?"""
        return self.locked and not any(True for _ in self.head.parameters())

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; a locked backbone, and one with updates, stays in evaluation mode."""
        super().train(mode)
        if self.locked:
            self.backbone.eval()
        if self.adapted:
            set_training(self.backbone, mode)
        return self

    def fixed(self, name: str) -> bool:
        """Does training never change this tensor of the state, `backbone.<name>` or `head.<name>`?"""
        return name.startswith("backbone.") and (self.locked or (self.adapted and not is_update(name)))

    def features(self, inputs: dict[str, Tensor]) -> Tensor:
        """The backbone's pooled features as they come [B, G]; without gradient when locked."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.locked):
            return self.backbone(inputs)

    def project(self, features: Tensor) -> TowerOutput:
        """From features [B, G], live or out of a store, to the output."""
        embedding = self.head(features)
        exact = torch.promote_types(embedding.dtype, torch.float32)  # float64 stays, autocast's halves do not
        raw = embedding.to(exact)
        guide = F.normalize(features.detach().to(exact), dim=-1)
        return TowerOutput(z=F.normalize(raw, dim=-1), guide=guide, raw=raw)

    def forward(self, inputs: dict[str, Tensor]) -> TowerOutput:
        """Embed a batch."""
        return self.project(self.features(inputs))

    def fingerprint(self) -> str:
        """SHA-256 over the backbone's modules, parameters and saved buffers: names, dtypes, shapes, bytes."""
        kinds = [
            f"{name} {type(module).__name__}"  # what no weight shows: activations, poolings; not what drops in training
            for name, module in self.backbone.named_modules()
            if not isinstance(module, nn.Identity) and "Drop" not in type(module).__name__
        ]
        digest = hashlib.sha256("\n".join([*kinds, self.backbone.extra_repr()]).encode())
        for name, value in sorted(self.backbone.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()
