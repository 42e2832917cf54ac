"""Towers out of timm: any backbone of images. The library is imported only where such a tower is loaded or saved."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from torch import nn

from xmodal.config.spec import Count
from xmodal.config.tower import TowerSpec, Whereabouts
from xmodal.processor import Processor
from xmodal.towers.kind import TowerKind


class TimmTower(TowerKind):
    """Any timm backbone, pooled as the model pools, with its own data config."""

    packages: ClassVar[tuple[str, ...]] = ("timm",)

    class Spec(TowerKind.Spec):
        """`name` is a timm name, `hf-hub:OWNER/MODEL`, or a folder in timm's hub format.

        `options` go to `timm.create_model`: `{depth: 6, embed_dim: 192, patch_size: 4}`, `{drop_path_rate: 0.1}`.
        """

        name: Annotated[str, Whereabouts()]
        weights: Annotated[Path | None, Whereabouts()] = None  # a safetensors file in place of the name's own
        image_size: Count | None = None  # pixels, height and width; default: the model's
        options: dict[str, bool | int | float | str | tuple[int, ...]] = Field(default_factory=dict)

        @model_validator(mode="after")
        def _backbone_of_images(self) -> Self:
            if self.weights is not None and self.mode == "scratch":
                raise ValueError("weights goes with mode locked or unlocked")
            taken = sorted(self.options.keys() & {"num_classes", "in_chans", "features_only", "pretrained", "img_size"})
            if taken:
                raise ValueError(f"options: {taken[0]} is not for setting: a tower is a backbone of RGB images, pooled")
            if self.options.get("global_pool") == "":
                raise ValueError("options: global_pool '' leaves features unpooled; leave it out, or name a pooling")
            return self

    def load(self, spec: Spec) -> tuple[nn.Module, Processor]:
        """See `timm_model.load`."""
        from xmodal.towers import timm_model

        return timm_model.load(spec)

    def save(self, spec: Spec, backbone: Any, processor: Any, folder: Path) -> None:
        """A folder in timm's hub format; its weights where the mode is locked."""
        from xmodal.towers import timm_model

        timm_model.save(backbone, folder, weights=spec.mode == "locked")

    def local(self, spec: Spec, folder: Path) -> TowerSpec:
        """The spec of the folder, which holds sizes and options; without weights where it trains: the run has them."""
        mode = "locked" if spec.mode == "locked" else "scratch"
        changes: dict[str, Any] = {
            "name": str(folder),
            "weights": None,
            "image_size": None,
            "options": {},
            "mode": mode,
        }
        return spec.model_copy(update=changes)
