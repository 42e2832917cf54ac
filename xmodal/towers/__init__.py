"""Towers: kind -> load(spec) -> (backbone, processor); built, saved into a run folder, and rebuilt from it.

Enters: a tower's spec. Leaves: `Tower` and `Processor`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from xmodal.config.towers import SpeechEncoderTower, StoreTower, TransformersTower, is_locked
from xmodal.towers import from_transformers, speech_encoder
from xmodal.towers.from_store import load as load_store
from xmodal.towers.heads import build_head
from xmodal.towers.tower import Processor, Tower, TowerOutput
from xmodal.towers.weights import save_backbone

__all__ = ["TOWERS", "Processor", "Tower", "TowerOutput", "build_tower", "local_spec", "save_tower"]

TOWERS: dict[str, Callable[[Any], tuple[nn.Module, Processor]]] = {
    "transformers": from_transformers.load,
    "speech_encoder": speech_encoder.load,
    "store": load_store,
}

AnyTower = TransformersTower | SpeechEncoderTower | StoreTower


def build_tower(spec: AnyTower, out_dim: int | None = None) -> tuple[Tower, Processor]:
    """The tower of a spec, with its head; a head without `dim` maps to `out_dim`, else to the backbone's width.

    Raises:
        UserError: weights, files or settings that do not fit.

    Example:
        tower, processor = build_tower(SpeechEncoderTower(), out_dim=384)
    """
    backbone, processor = TOWERS[spec.kind](spec)
    return Tower(backbone, build_head(spec.head, backbone.width, out_dim), is_locked(spec)), processor  # type: ignore[arg-type]


def save_tower(spec: AnyTower, tower: Tower, processor: Processor, folder: Path) -> None:
    """Write what `build_tower(local_spec(spec, folder))` needs: everything but the head, without the network.

    transformers: a folder that `transformers` (and sentence-transformers, if it came from such a folder) can load.
    speech_encoder: nothing unless it is locked; a tower that trains has its weights in the run's own file. store: the
    live tower behind it. The head's weights are the run's too.
    """
    if isinstance(spec, StoreTower):
        live, processor = build_tower(spec.tower) if processor.kind == "item_id" else (tower, processor)
        return save_tower(spec.tower, live, processor, folder)
    if isinstance(spec, TransformersTower):
        from_transformers.save(tower.backbone, processor, folder)
    elif is_locked(spec):
        save_backbone(tower.backbone, folder)
    return None


def local_spec(spec: AnyTower, folder: Path) -> TransformersTower | SpeechEncoderTower:
    """The spec that rebuilds, from `folder`, the tower `save_tower` wrote there; a store's becomes its live tower's."""
    if isinstance(spec, StoreTower):
        return local_spec(spec.tower, folder).model_copy(update={"head": spec.head})
    if isinstance(spec, TransformersTower):
        return from_transformers.local(spec, folder)
    if is_locked(spec):
        return spec.model_copy(update={"weights": folder})
    return spec.model_copy(update={"mode": "scratch", "weights": None})
