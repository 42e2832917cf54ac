"""Towers: built from their specs, saved into a run folder, rebuilt from it. Their kinds: `xmodal/towers/kind.py`."""

from pathlib import Path

from torch import nn

from xmodal.config.tower import TowerSpec
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.towers.heads import build_head
from xmodal.towers.kind import OwnTower, TowerKind, kind_of, versions_of
from xmodal.towers.lora import add_lora
from xmodal.towers.tower import Tower, TowerOutput

__all__ = [
    "OwnTower", "Processor", "Tower", "TowerKind", "TowerOutput", "build_tower", "kind_of", "local_spec", "runs_code",
    "save_tower", "versions_of", "without_code",
]  # fmt: skip


def build_tower(spec: TowerSpec, out_dim: int | None = None) -> tuple[Tower, Processor]:
    """The tower of a spec, with its head; a head without `dim` maps to `out_dim`, else to the backbone's width.

    Raises:
        UserError: weights, files or settings that do not fit; a backbone or processor that lacks what it must have.

    Example:
        tower, processor = build_tower(SpeechEncoderTower.Spec(), out_dim=384)
    """
    backbone, processor = kind_of(spec).load(spec)
    _require_fit(spec, backbone, processor)
    lora = getattr(spec, "lora", None)
    if lora is not None:
        add_lora(backbone, lora)
    width = backbone.width
    if spec.head.over_sequence:
        if not hasattr(backbone, "sequence"):
            raise UserError(
                f"tower {spec.kind!r}: head {spec.head.kind!r} works over a sequence, and this backbone gives one "
                "vector an item; choose head linear or mlp, or another tower"
            )
        width = getattr(backbone, "step_width", width)
    head = build_head(spec.head, int(width), out_dim)  # type: ignore[arg-type]
    rests = getattr(spec, "unfreeze_after", 0)
    return Tower(backbone, head, spec.is_locked, adapted=lora is not None, unfreeze_after=rests), processor


def _require_fit(spec: TowerSpec, backbone: object, processor: object) -> None:
    """Somebody else's tower may lack something: say so here, and not deep inside a training step."""
    if not isinstance(backbone, nn.Module) or not isinstance(getattr(backbone, "width", None), int):
        raise UserError(
            f"tower {spec.kind!r}: its backbone is a {type(backbone).__name__}, expected an nn.Module with `width`, "
            "the number of its features"
        )
    if not isinstance(processor, Processor):
        wanted = ("kind", "sample_rate", "log_mel", "features", "collate", "describe", "cut")
        lacking = [name for name in wanted if not hasattr(processor, name)]
        raise UserError(
            f"tower {spec.kind!r}: its processor, a {type(processor).__name__}, has no {', '.join(lacking)}; derive it "
            "from xmodal.processor.Processor"
        )


def save_tower(spec: TowerSpec, tower: Tower, processor: Processor, folder: Path) -> None:
    """Write what `build_tower(local_spec(spec, folder))` needs: everything but the head, without the network.

    transformers, timm: a folder that the library can load (and sentence-transformers, if it came from such a folder).
    open_clip: its own config, and one side's weights. Towers made by code (`OwnTower`): nothing unless locked. A tower
    that trains has its weights in the run's own file, and so have low-rank updates; what they update is here. store:
    the live tower behind it. The head's weights are the run's too.
    """
    if spec.is_stored:
        live, processor = build_tower(spec.live) if processor.kind == "item_id" else (tower, processor)
        save_tower(spec.live, live, processor, folder)
    else:
        kind_of(spec).save(spec, tower.backbone, processor, folder)


def local_spec(spec: TowerSpec, folder: Path) -> TowerSpec:
    """The spec that rebuilds, from `folder`, the tower `save_tower` wrote there; a store's becomes its live tower's."""
    if spec.is_stored:
        return local_spec(spec.live, folder).model_copy(update={"head": spec.head})
    return kind_of(spec).local(spec, folder)


def runs_code(spec: TowerSpec) -> bool:
    """Does loading this tower run code that came with the model's files (`trust_remote_code`)?"""
    return kind_of(spec.live).runs_code(spec.live)


def without_code(spec: TowerSpec) -> TowerSpec:
    """The spec of the same tower that runs no such code; a store's live tower never does (its rows are on disk)."""
    if spec.is_stored:
        return spec
    found: TowerSpec = kind_of(spec).without_code(spec)
    return found
