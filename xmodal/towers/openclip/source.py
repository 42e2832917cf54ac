"""Where an open_clip model lives: its config, its preprocessing, its safetensors.

Input: an `OpenCLIPTower` spec. Output: an `OpenCLIPSource`; every foreseeable failure is one line.
"""

import difflib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from xmodal.errors import UserError
from xmodal.towers.hub import hub_file
from xmodal.towers.kinds.open_clip import OpenCLIPTower
from xmodal.towers.weights import FILE

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", FILE)
HUB = "hf-hub:"
PICKLED = (
    "pickled weights are never loaded; convert them with safetensors.torch.save_file(state_dict, 'FILE.safetensors')"
)


@dataclass(frozen=True)
class OpenCLIPSource:
    """What a spec names."""

    model: dict[str, Any]  # open_clip's model_cfg
    preprocess: dict[str, Any]  # open_clip's PreprocessCfg
    weights: Path | None = None
    folder: Path | None = None  # where the config was found, if in a folder
    one_side: bool = field(default=False)  # the weights are a saved tower's

    @property
    def has_tokenizer(self) -> bool:
        """Are there tokenizer files beside the config?"""
        return self.folder is not None and (self.folder / "tokenizer_config.json").is_file()


def locate(spec: OpenCLIPTower.Spec) -> OpenCLIPSource:
    """Find a model's files; weights are looked up (and downloaded) unless the mode is scratch.

    Raises:
        UserError: unknown name or tag (the nearest are named), no such file, or pickled weights.
    """
    path = Path(spec.name).expanduser()
    if spec.name.startswith(HUB) or path.is_dir():
        if spec.pretrained is not None:
            raise UserError(
                f"tower {spec.name!r}: pretrained {spec.pretrained!r}: a hub name and a folder have their own weights"
            )
        return from_hub(spec) if spec.name.startswith(HUB) else from_folder(spec, path)
    if path.suffix == ".json" or spec.name.startswith((".", "/", "~")):
        if not path.is_file():
            raise UserError(f"tower {spec.name!r}: no such model config ({path.absolute()})")
        model, preprocess = read_config(spec, path)
        return OpenCLIPSource(model, preprocess, weights_file(spec), path.parent)
    return from_name(spec)


def from_name(spec: OpenCLIPTower.Spec) -> OpenCLIPSource:
    """One of open_clip's own names, with a tag or a file."""
    name = spec.name.replace("/", "-")
    model = open_clip.get_model_config(name)
    if model is None:
        known = open_clip.list_models()
        lower = {one.lower(): one for one in known}
        close = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, 3, 0.5)]
        raise UserError(
            f"tower {spec.name!r}: open_clip has no such model; nearest: {', '.join(close) or 'none'} "
            f"(all {len(known)}: open_clip.list_models()); a model of your own is a JSON config or a folder"
        )
    preprocess = asdict(PreprocessCfg())
    tag = open_clip.get_pretrained_cfg(name, spec.pretrained) if spec.pretrained else None
    if not tag:
        return OpenCLIPSource(model, preprocess, weights_file(spec))
    model["quick_gelu"] = bool(
        tag.get("quick_gelu", False)
    )  # open_clip warns of a mismatch and computes wrong features
    preprocess = merge_preprocess_dict(preprocess, tag)
    return OpenCLIPSource(model, preprocess, None if spec.mode == "scratch" else tag_weights(spec, tag))


def weights_file(spec: OpenCLIPTower.Spec) -> Path | None:
    """`pretrained` as a file, None where it is left out.

    Raises:
        UserError: neither a tag of this model nor a safetensors file.
    """
    if spec.pretrained is None:
        return None
    path = Path(spec.pretrained).expanduser()
    if not path.is_file():
        tags = open_clip.list_pretrained_tags_by_model(spec.name.replace("/", "-"))
        known = f"one of its tags ({', '.join(tags)})" if tags else "a tag (this model has none)"
        raise UserError(f"tower {spec.name!r}: pretrained {spec.pretrained!r}: neither {known} nor a file")
    if path.suffix != ".safetensors":
        raise UserError(f"tower {spec.name!r}: pretrained {spec.pretrained!r}: {PICKLED}")
    return path


def tag_weights(spec: OpenCLIPTower.Spec, tag: dict[str, Any]) -> Path:
    """The safetensors file behind a tag, from the hub or its cache."""
    repository, _, file = tag.get("hf_hub", "").rpartition("/")
    if not repository:
        raise UserError(f"tower {spec.name!r}: tag {spec.pretrained!r} has no safetensors on the hub, and {PICKLED}")
    wanted = str(Path(file).with_suffix(".safetensors")) if file else WEIGHTS[0]
    return hub_file(spec.name, repository, wanted, PICKLED)


def from_hub(spec: OpenCLIPTower.Spec) -> OpenCLIPSource:
    """`hf-hub:OWNER/MODEL`."""
    repository = spec.name.removeprefix(HUB)
    config = hub_file(spec.name, repository, CONFIG, "is it an open_clip model?")
    weights = None if spec.mode == "scratch" else hub_file(spec.name, repository, WEIGHTS[0], PICKLED)
    return OpenCLIPSource(*read_config(spec, config), weights)


def from_folder(spec: OpenCLIPTower.Spec, folder: Path) -> OpenCLIPSource:
    """A folder as open_clip's hub has them, or as a run keeps a tower."""
    if not (folder / CONFIG).is_file():
        raise UserError(f"tower {spec.name!r}: {folder} has no {CONFIG}")
    model, preprocess = read_config(spec, folder / CONFIG)
    side = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("side")
    if side not in (None, spec.side):
        raise UserError(f"tower {spec.name!r}: holds the {side} side alone, not the {spec.side} side")
    found = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not found and spec.mode != "scratch":
        raise UserError(f"tower {spec.name!r}: {folder} has none of {', '.join(WEIGHTS)}; {PICKLED}")
    return OpenCLIPSource(model, preprocess, found[0] if found else None, folder, one_side=side is not None)


def read_config(spec: OpenCLIPTower.Spec, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(model_cfg, preprocess_cfg) of a JSON file; a bare model_cfg is taken too.

    Raises:
        UserError: no JSON, or no model config.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        model = found.get("model_cfg", found)
        lacking = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in model]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"tower {spec.name!r}: {path} is not a JSON model config ({error})") from error
    if lacking:
        raise UserError(f"tower {spec.name!r}: {path} is not an open_clip model config: it has no {', '.join(lacking)}")
    return model, merge_preprocess_dict(asdict(PreprocessCfg()), found.get("preprocess_cfg", {}))


def hub_repository(name: str, pretrained: str) -> str | None:
    """OWNER/MODEL on the hub behind a model's tag; None where the tag's weights lie elsewhere, or it is no tag.

    Example:
        hub_repository("ViT-B-32", "laion2b_s34b_b79k")  # "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    """
    tag = open_clip.get_pretrained_cfg(name, pretrained) or {}
    return "/".join(tag.get("hf_hub", "").split("/")[:2]) or None  # a file's name may follow
