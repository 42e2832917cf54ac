"""Towers out of open_clip: one side of any model. The library is imported only where one is loaded or saved."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from torch import nn

from xmodal.config.tower import Side, TowerSpec, Whereabouts
from xmodal.processor import Processor
from xmodal.towers.kind import TowerKind


class OpenCLIPTower(TowerKind):
    """One side of an open_clip model, its projection included."""

    packages: ClassVar[tuple[str, ...]] = ("open_clip_torch", "timm", "transformers", "tokenizers")

    class Spec(TowerKind.Spec):
        """`name` is one of `open_clip.list_models()`, `hf-hub:OWNER/MODEL`, a JSON model config, or a folder with an
        open_clip_config.json.

        `pretrained` is a tag (`open_clip.list_pretrained()`) or a safetensors file; the hub and folders carry their own
        weights. The activation (QuickGELU or not) follows the tag.
        """

        name: Annotated[str, Whereabouts()]
        pretrained: Annotated[str | None, Whereabouts()] = None
        side: Side

    def load(self, spec: Spec) -> tuple[nn.Module, Processor]:
        """See `openclip.model.load`."""
        from xmodal.towers.openclip.model import load

        return load(spec)

    def save(self, spec: Spec, backbone: Any, processor: Any, folder: Path) -> None:
        """open_clip's own config and this side's tokenizer; its weights where the mode is locked."""
        from xmodal.towers.openclip.model import save

        save(backbone, processor, folder, weights=spec.mode == "locked")

    def local(self, spec: Spec, folder: Path) -> TowerSpec:
        """The spec of the folder; without weights where it trains: those are in the run's own file."""
        mode = "locked" if spec.mode == "locked" else "scratch"
        return spec.model_copy(update={"name": str(folder), "pretrained": None, "mode": mode})
