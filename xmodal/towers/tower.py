"""A tower: one modality's backbone and head, whose output is unit norm.

Input: a padded batch made by the tower's processor. Output: `TowerOutput`. This is the only place where anything is
normalised. Axes: B items, G backbone features, D embedding.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.batch import Clock
from xmodal.errors import UserError
from xmodal.towers.frames import Frames
from xmodal.towers.lora import set_training, update_names
from xmodal.towers.sequence_heads import SequenceHead
from xmodal.towers.timed import Timed


@dataclass(frozen=True)
class TowerOutput:
    """What a tower says about B items."""

    z: Tensor  # [B, D] unit norm
    guide: Tensor  # [B, G] unit norm, no gradient: the features before the head
    raw: Tensor  # [B, D] the head's output before normalisation; z is raw / |raw|


class Tower(Timed, nn.Module):
    """Backbone, head, unit norm: z = h / |h| with h = head(backbone(x)).

    Args:
        backbone: module with `.width` (G) and forward(inputs: dict[str, Tensor]) -> [B, G]. One that can also give
            what it pools has `sequence(inputs) -> Frames`, and `step_width` where that is not G.
        head: module with `.dim` (D), [B, G] -> [B, D] (see `heads.py`); or a `SequenceHead`, which pools the
            backbone's sequence itself: features are then what it pooled.
        locked: the backbone never changes: no gradient, and evaluation mode for ever (requires_grad=False alone
            would leave dropout and BatchNorm running). The head still trains.
        adapted: low-rank updates inside the backbone train (see `lora.py`) and the rest of it stays, in evaluation
            mode for ever. Such a tower is not locked: its features change.
        unfreeze_after: steps for which the backbone rests, as a locked one does (see `at`); then it trains.

    Example:
        tower = Tower(SpeechEncoder(), Linear(144, 384))
        tower(processor.collate([processor.features(wave)])).z  # [1, 384]
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        locked: bool = False,
        adapted: bool = False,
        unfreeze_after: int = 0,
    ):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.locked = locked
        self.adapted = adapted
        self.unfreeze_after = unfreeze_after
        self.resting = unfreeze_after > 0
        if locked:
            backbone.requires_grad_(False)
        if isinstance(head, SequenceHead):
            for module in getattr(backbone, "pooling_modules", list)():  # unused, and DDP waits for every gradient
                module.requires_grad_(False)
        self._updates = frozenset(f"backbone.{name}" for name in update_names(backbone)) if adapted else frozenset()
        self.train()

    @property
    def width(self) -> int:
        """G, the features: the backbone's, or what a head over its sequence pools."""
        return self.head.width if isinstance(self.head, SequenceHead) else self.backbone.width  # type: ignore[return-value]

    @property
    def dim(self) -> int:
        """D, the embedding."""
        return self.head.dim  # type: ignore[return-value]

    @property
    def guides(self) -> bool:
        """Can the embedding itself serve as the guide: a locked backbone without a head, so that z never changes?

        Then z and guide are the same rows: they are gathered once, without gradient, and evaluation may keep them.
        """
        return self.locked and not any(True for _ in self.head.parameters())

    @property
    def features_stay(self) -> bool:
        """Do the features never change: a locked backbone that pools by itself?"""
        return self.locked and not isinstance(self.head, SequenceHead)

    def feature_parameters(self) -> list[nn.Parameter]:
        """What trains in making the features, at this step."""
        pooling = self.head.pooling_parameters() if isinstance(self.head, SequenceHead) else []
        backbone = [] if self.resting else [*self.backbone.parameters()]
        return [parameter for parameter in [*backbone, *pooling] if parameter.requires_grad]

    def at(self, clock: Clock) -> None:
        """Say which step is being made: before `unfreeze_after` the backbone rests, from then on it trains.

        At rest it has no gradient, and evaluation mode. That depends on the step alone, so a run that goes on after an
        interruption does what it would have done.
        """
        if self.resting != (clock.step < self.unfreeze_after):
            self.resting = not self.resting
            self.train(self.training)

    def resting_parameters(self) -> list[nn.Parameter]:
        """What trains later, and not at this step."""
        return (
            [parameter for parameter in self.backbone.parameters() if parameter.requires_grad] if self.resting else []
        )

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; a backbone that is locked, rests or has updates stays in evaluation mode."""
        super().train(mode)
        if self.locked or self.resting:
            self.backbone.eval()
        if self.adapted:
            set_training(self.backbone, mode)
        return self

    def fixed(self, name: str) -> bool:
        """Does training never change this tensor of the state, `backbone.<name>` or `head.<name>`?"""
        return name.startswith("backbone.") and (self.locked or (self.adapted and name not in self._updates))

    def features(self, inputs: dict[str, Tensor]) -> Tensor:
        """Pooled features as they come [B, G]; the backbone has no gradient when it is locked or rests."""
        if isinstance(self.head, SequenceHead):
            return self.head.pool(self.sequence(inputs))
        with self._gradient():
            return self.backbone(inputs)

    def features_and_steps(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Frames]:
        """As `features`, and the contextual steps [B, T', W] that a head over sequences pooled, of the same pass."""
        assert isinstance(self.head, SequenceHead)
        steps = self.head.contextual(self.sequence(inputs))
        return self.head.pooled(steps), steps

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """What the backbone gives before it pools; without gradient when it is locked or rests."""
        with self._gradient():
            return self.backbone.sequence(inputs)  # type: ignore[operator]

    def _gradient(self) -> torch.set_grad_enabled:
        return torch.set_grad_enabled(torch.is_grad_enabled() and not (self.locked or self.resting))

    def project(self, features: Tensor) -> TowerOutput:
        """From features [B, G], live or out of a store, to the output."""
        raw = self.head(features)
        exact = torch.promote_types(raw.dtype, torch.float32)  # float64 stays, autocast's halves do not
        raw = raw.to(exact)
        return TowerOutput(F.normalize(raw, dim=-1), F.normalize(features.detach().to(exact), dim=-1), raw)

    def codes(self, features: Tensor) -> Tensor:
        """From features [B, G] to how likely the head's codebooks make each entry [B, groups, V].

        Raises `UserError` where the head has none.
        """
        if not hasattr(self.head, "codes"):
            raise UserError(
                f"objective: it needs the codes of a head that is a {type(self.head).__name__}; "
                "set towers.SIDE.head={kind: quantizer}"
            )
        return self.head.codes(features)  # type: ignore[operator]

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
        add_state(digest, self.backbone)
        return digest.hexdigest()


def add_state(digest: "hashlib._Hash", module: nn.Module) -> None:
    """Feed a module's parameters and saved buffers to a digest: names, dtypes, shapes, bytes."""
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
