"""A run of two open_clip towers as one folder of open_clip: `open_clip.create_model_and_transforms("local-dir:OUT")`.

Its towers must be open_clip's own, an image and a text side without heads (or with heads that change nothing).
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.export.cannot import cannot_hold
from xmodal.export.plain_state import merged
from xmodal.files import write_json, written_whole
from xmodal.runs.folder import is_run, kept_weights
from xmodal.towers.heads import Identity

FORM = "open_clip"
START = math.log(1 / 0.07)  # CLIP's first logit scale


def write(encoder: Encoder, modalities: list[str], folder: Path) -> list[str]:
    """Write open_clip_config.json, open_clip_model.safetensors and the tokenizer; returns lines about them.

    Raises:
        UserError: towers that are not open_clip's, with heads, of models that do not fit into one.
    """
    from xmodal.towers.openclip.model import OpenCLIPBackbone
    from xmodal.towers.openclip.source import CONFIG, WEIGHTS

    sides: dict[str, Any] = {}
    for modality in modalities:
        tower = encoder.towers[modality]
        backbone = tower.backbone
        if not isinstance(backbone, OpenCLIPBackbone):
            why = f"its backbone is a {type(backbone).__name__}, not one of its own models"
            raise cannot_hold(FORM, encoder.name, modality, why)
        if not isinstance(tower.head, Identity):
            why = f"its head is a {type(tower.head).__name__}, and its models end in their own projection"
            raise cannot_hold(FORM, encoder.name, modality, why)
        if backbone.config["model_cfg"]["text_cfg"].get("hf_model_name") and backbone.side == "text":
            why = "its text model is one of transformers, whose config open_clip would fetch from the hub"
            raise cannot_hold(FORM, encoder.name, modality, why)
        sides[backbone.side] = merged(backbone)
    if set(sides) != {"visual", "text"} or len(modalities) != 2:
        found = ", ".join(f"{modality} ({encoder.kind(modality)})" for modality in modalities)
        raise UserError(f"{encoder.name}: open_clip holds one image and one text side, and found {found}")
    config = joint_config(encoder.name, sides["visual"].config, sides["text"].config)
    learned = learned_scale(encoder.folder)
    state = joint_state(sides, START if learned is None else learned)
    write_json(folder / CONFIG, config)
    with written_whole(folder / WEIGHTS[0]) as beside:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, beside)
    tokenizer = next(encoder.processors[m] for m in modalities if encoder.kind(m) == "text").tokenizer  # type: ignore[attr-defined]
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(folder)
    require_whole(encoder.name, folder)
    told = (
        f"exp({START:.3f}), where CLIP starts: none was learned here"
        if learned is None
        else f"exp({learned:.3f}), as learned"
    )
    return [f"logit_scale: {told}"]


def joint_config(model: str, visual: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    """open_clip_config.json of both sides.

    Raises:
        UserError: settings that one model has but once, and the sides have differently.
    """
    settings = [
        {k: v for k, v in side["model_cfg"].items() if k not in ("vision_cfg", "text_cfg")} for side in (visual, text)
    ]
    differing = sorted(
        key for key in settings[0].keys() | settings[1].keys() if settings[0].get(key) != settings[1].get(key)
    )
    if differing:
        raise UserError(
            f"{model}: open_clip cannot hold its sides in one model: they differ in {', '.join(differing)}; use "
            "--format onnx"
        )
    whole = settings[0] | {"vision_cfg": visual["model_cfg"]["vision_cfg"], "text_cfg": text["model_cfg"]["text_cfg"]}
    preprocess = {key: value for key, value in visual["preprocess_cfg"].items() if key != "size"}
    found: dict[str, Any] = json.loads(json.dumps({"model_cfg": whole, "preprocess_cfg": preprocess}))
    return found


def joint_state(sides: dict[str, Any], log_scale: float) -> dict[str, Tensor]:
    """The weights of both sides under the names of the whole model, and its logit scale."""
    state = {**sides["visual"].model.state_dict(), **sides["text"].model.state_dict()}
    return {**state, "logit_scale": torch.tensor(log_scale)}


def learned_scale(run: Path | None) -> float | None:
    """log(1 / temperature) as a run's objective learned it; None where there is no such number, or more than one."""
    if run is None or not is_run(run):
        return None
    found = [value for name, value in kept_weights(run).items() if name.endswith("log_scale")]
    return float(found[0]) if len(found) == 1 and found[0].numel() == 1 else None


def require_whole(model: str, folder: Path) -> None:
    """Raise `UserError` unless open_clip loads the folder and finds every weight in it."""
    import open_clip

    from xmodal.towers.openclip.model import quiet

    try:
        with quiet():
            open_clip.create_model(f"local-dir:{folder}")
    except (OSError, RuntimeError, TypeError, ValueError, KeyError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{model}: open_clip cannot hold its sides in one model: {reason}; use --format onnx"
        ) from error
