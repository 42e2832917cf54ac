"""Kinds of towers: one class for each, which holds its spec and knows how to load, save and rebuild its towers.

`TOWERS` (`xmodal/config/kinds.py`) names them. One of your own is an `OwnTower`; a config names it as
`kind: my_package.towers:MyTower`, or by a name that the package adds through the entry-point group `xmodal.towers`.
"""

import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from torch import nn

from xmodal.config.kinds import TOWERS
from xmodal.config.tower import Mode, TowerSpec, Whereabouts
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.towers.lora import LoRA
from xmodal.towers.weights import save_backbone, take_weights


class TowerKind:
    """What a kind of tower knows. xmodal's libraries derive from it directly, other towers from `OwnTower`."""

    packages: ClassVar[tuple[str, ...]] = ()  # pip packages whose versions decide the features, besides torch

    class Spec(TowerSpec):
        """What a tower may be set to: how much of it trains, and from when on."""

        mode: Annotated[Mode, Whereabouts()] = "locked"
        lora: LoRA | None = None
        unfreeze_after: Annotated[int, Field(ge=0), Whereabouts()] = 0  # steps an unlocked backbone rests first

        @model_validator(mode="after")
        def _adapters_on_a_fixed_backbone(self) -> Self:
            if self.lora is not None and self.mode != "locked":
                raise ValueError(
                    f"lora goes with mode locked (the backbone stays, the updates train), not {self.mode!r}"
                )
            return self

        @model_validator(mode="after")
        def _what_rests_trains_later(self) -> Self:
            if self.unfreeze_after and self.mode != "unlocked":
                raise ValueError(
                    f"unfreeze_after goes with mode unlocked (the backbone rests, then trains), not {self.mode!r}"
                )
            return self

        @property
        def is_locked(self) -> bool:
            """Does the backbone stay as it is?"""
            return self.mode == "locked" and self.lora is None

    def load(self, spec: Any) -> tuple[nn.Module, Processor]:
        """Backbone and processor of a spec.

        The backbone has `.width` (G) and forward(inputs: dict[str, Tensor]) -> [B, G], not normalised.

        Raises:
            UserError: weights, files or settings that do not fit.
        """
        raise NotImplementedError

    def save(self, spec: Any, backbone: nn.Module, processor: Any, folder: Path) -> None:
        """Write into `folder` what `load(local(spec, folder))` needs, without the network.

        Weights of a locked backbone belong there. What trains, low-rank updates among it, is in the run's own file.
        """
        raise NotImplementedError

    def local(self, spec: Any, folder: Path) -> TowerSpec:
        """The spec that rebuilds, from `folder`, the tower that `save` wrote there."""
        raise NotImplementedError

    def model_of(self, spec: Any) -> str | dict[str, Any]:
        """What a store of this tower's features says it was made with, and is refused for where it differs."""
        found: dict[str, Any] = spec.model_dump(mode="json", exclude={"mode", "head", "unfreeze_after"})
        return found

    def runs_code(self, spec: Any) -> bool:
        """Does loading run code that came with the model's files (`trust_remote_code`)?"""
        return False

    def without_code(self, spec: Any) -> Any:
        """The spec that loads the same model, and runs no such code: where the model needs it, loading fails."""
        return spec


class OwnTower(TowerKind):
    """A tower made by code: xmodal's own encoders, and yours.

    Derive a `Spec` with the settings, and write `make(spec)`: a network with random weights, or (where the spec says
    `comes_trained`, and its mode is not scratch) with those it was trained to. The rest is here: `weights` of an
    earlier run are taken over, a run keeps the weights, and `xmodal.load` rebuilds the tower from them.

    Example:
        class MyTower(OwnTower):
            packages = ("my-package",)

            class Spec(OwnTower.Spec):
                width: int = 32

            def make(self, spec):
                return MyBackbone(spec.width), MyProcessor()
    """

    class Spec(TowerKind.Spec):
        """How much of it trains, and from which weights."""

        comes_trained: ClassVar[bool] = False  # has the network of modes locked and unlocked weights of its own?

        mode: Annotated[Mode, Whereabouts()] = "scratch"
        weights: Annotated[Path | None, Whereabouts()] = None  # a run folder whose tower of this kind is taken over

        @model_validator(mode="after")
        def _weights(self) -> Self:
            if self.weights is not None and self.mode == "scratch":
                raise ValueError("weights goes with mode locked or unlocked, and those modes need weights")
            if self.weights is None and self.mode != "scratch" and not self.comes_trained:
                raise ValueError("weights goes with mode locked or unlocked, and those modes need weights")
            return self

    def make(self, spec: Any) -> tuple[nn.Module, Processor]:
        """Network and processor of a spec."""
        raise NotImplementedError

    def load(self, spec: Any) -> tuple[nn.Module, Processor]:
        """What `make` gives, with the weights that the spec names.

        Raises:
            UserError: no such weights (see `take_weights`).
        """
        backbone, processor = self.make(spec)
        if spec.weights is not None:
            take_weights(backbone, spec.weights)
        return backbone, processor

    def save(self, spec: Any, backbone: nn.Module, processor: Any, folder: Path) -> None:
        """Write the backbone's weights where the mode is locked; else they are in the run's own file."""
        if spec.mode == "locked":
            save_backbone(backbone, folder)

    def model_of(self, spec: Any) -> str | dict[str, Any]:
        """The settings and where the weights are from."""
        training = {"mode", "head", "lora", "unfreeze_after"}  # a tower that is stored has nothing of it
        found: dict[str, Any] = spec.model_dump(mode="json", exclude=training)
        return found

    def local(self, spec: Any, folder: Path) -> TowerSpec:
        """The same settings; weights from `folder` where the mode is locked, else none: the run's file has them."""
        changes = {"weights": folder} if spec.mode == "locked" else {"mode": "scratch", "weights": None}
        found: TowerSpec = spec.model_copy(update=changes)
        return found


def kind_of(spec: TowerSpec) -> TowerKind:
    """The kind of a spec's tower.

    Raises:
        UserError: its class is no `TowerKind`.
    """
    found = TOWERS.find(spec.kind)
    if not (isinstance(found, type) and issubclass(found, TowerKind)):
        raise UserError(f"tower kind {spec.kind!r}: its class is not derived from xmodal.towers.kind.TowerKind")
    return found()


def settings_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a spec, as JSON, says of a tower's embeddings: all but whereabouts; of a store's, its live tower's.

    Example:
        settings_of({"kind": "timm", "name": "resnet18", "options": {}})  # {"kind": "timm", "options": {}}
    """
    live = spec.get("tower", spec)
    if "kind" not in live:
        return dict(live)
    kind: type[TowerSpec] = TOWERS.spec(live["kind"])  # type: ignore[assignment]
    return {name: value for name, value in live.items() if name not in kind.whereabouts()}


def versions_of(specs: Iterable[TowerSpec]) -> dict[str, str]:
    """The installed versions of what these towers' features depend on: xmodal, torch, and their kinds' packages."""
    kinds = [kind_of(spec.live) for spec in specs]
    names = ["xmodal", "torch", *sorted({name for kind in kinds for name in kind.packages})]
    for kind in kinds:  # somebody else's: the package its class is from
        module = type(kind).__module__.partition(".")[0]
        names += importlib.metadata.packages_distributions().get(module, []) if module != "xmodal" else []
    found = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
