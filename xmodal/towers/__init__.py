"""Towers: kind -> load(spec) -> (backbone, processor); built, saved into a run folder, and rebuilt from it.

Enters: a tower's spec. Leaves: `Tower` and `Processor`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from xmodal.config.towers import (
    AnyLiveTower,
    AnyTower,
    OpenCLIPTower,
    StoreTower,
    TimmTower,
    TransformersTower,
    is_locked,
)
from xmodal.towers import broken_torchaudio as broken_torchaudio  # first: transformers may import torchaudio
from xmodal.towers import from_transformers, image_encoder, speech_encoder, text_encoder
from xmodal.towers.from_store import load as load_store
from xmodal.towers.heads import build_head
from xmodal.towers.lora import add_lora
from xmodal.towers.tower import Processor, Tower, TowerOutput
from xmodal.towers.weights import save_backbone

__all__ = ["TOWERS", "Processor", "Tower", "TowerOutput", "build_tower", "local_spec", "save_tower"]


def load_open_clip(spec: OpenCLIPTower) -> tuple[nn.Module, Processor]:
    """See `from_open_clip.load`."""
    from xmodal.towers import from_open_clip  # it imports timm and torchvision, which a speech run does not need

    return from_open_clip.load(spec)


def load_timm(spec: TimmTower) -> tuple[nn.Module, Processor]:
    """See `from_timm.load`."""
    from xmodal.towers import from_timm  # as above

    return from_timm.load(spec)


TOWERS: dict[str, Callable[[Any], tuple[nn.Module, Processor]]] = {
    "transformers": from_transformers.load,
    "open_clip": load_open_clip,
    "timm": load_timm,
    "speech_encoder": speech_encoder.load,
    "image_encoder": image_encoder.load,
    "text_encoder": text_encoder.load,
    "store": load_store,
}


def build_tower(spec: AnyTower, out_dim: int | None = None) -> tuple[Tower, Processor]:
    """The tower of a spec, with its head; a head without `dim` maps to `out_dim`, else to the backbone's width.

    Raises:
        UserError: weights, files or settings that do not fit.

    Example:
        tower, processor = build_tower(SpeechEncoderTower(), out_dim=384)
    """
    backbone, processor = TOWERS[spec.kind](spec)
    lora = getattr(spec, "lora", None)
    if lora is not None:
        add_lora(backbone, lora)
    head = build_head(spec.head, backbone.width, out_dim)  # type: ignore[arg-type]
    return Tower(backbone, head, is_locked(spec), adapted=lora is not None), processor


def save_tower(spec: AnyTower, tower: Tower, processor: Processor, folder: Path) -> None:
    """Write what `build_tower(local_spec(spec, folder))` needs: everything but the head, without the network.

    transformers, timm: a folder that the library can load (and sentence-transformers, if it came from such a folder).
    open_clip: its own config, and one side's weights. xmodal's own encoders: nothing unless locked. A tower that trains
    has its weights in the run's own file, and so have low-rank updates; what they update is here. store: the live tower
    behind it. The head's weights are the run's too.
    """
    if isinstance(spec, StoreTower):
        live, processor = build_tower(spec.tower) if processor.kind == "item_id" else (tower, processor)
        save_tower(spec.tower, live, processor, folder)
    elif isinstance(spec, TransformersTower):
        from_transformers.save(tower.backbone, processor, folder)
    elif isinstance(spec, OpenCLIPTower):
        from xmodal.towers import from_open_clip

        from_open_clip.save(tower.backbone, processor, folder, weights=spec.mode == "locked")
    elif isinstance(spec, TimmTower):
        from xmodal.towers import from_timm

        from_timm.save(tower.backbone, folder, weights=spec.mode == "locked")
    elif is_locked(spec):
        save_backbone(tower.backbone, folder)


def local_spec(spec: AnyTower, folder: Path) -> AnyLiveTower:
    """The spec that rebuilds, from `folder`, the tower `save_tower` wrote there; a store's becomes its live tower's."""
    if isinstance(spec, StoreTower):
        return local_spec(spec.tower, folder).model_copy(update={"head": spec.head})
    if isinstance(spec, TransformersTower):
        return from_transformers.local(spec, folder)
    if isinstance(spec, OpenCLIPTower):
        return spec.model_copy(update={"name": str(folder), "pretrained": None, "mode": rebuilt_mode(spec)})
    if isinstance(spec, TimmTower):
        changes: dict[str, Any] = {
            "name": str(folder),
            "weights": None,
            "image_size": None,
            "options": {},
            "mode": rebuilt_mode(spec),
        }
        return spec.model_copy(update=changes)
    if is_locked(spec):
        return spec.model_copy(update={"weights": folder})
    return spec.model_copy(update={"mode": "scratch", "weights": None})


def rebuilt_mode(spec: OpenCLIPTower | TimmTower) -> str:
    """A tower that trains is built without weights: those are in the run's own file."""
    return "locked" if spec.mode == "locked" else "scratch"
