"""Any timm backbone, pooled as it pools, with its own data config.

Input: a `TimmTower` spec. Output: backbone and processor; or a folder in timm's hub format (config.json,
model.safetensors), which timm can load too. Imported only where a config names such a tower.
"""

import contextlib
import difflib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from timm.data import resolve_model_data_config
from timm.models import get_pretrained_cfg
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn

from xmodal.errors import UserError
from xmodal.files import written_whole
from xmodal.towers.frames import Frames, all_of
from xmodal.towers.hub import hub_file
from xmodal.towers.image_processor import PixelProcessor
from xmodal.towers.kinds.timm import TimmTower
from xmodal.towers.lora import own_state
from xmodal.towers.weights import FILE

HUB = "hf-hub:"
PICKLED = "pickled weights are never loaded; save them as safetensors, or train the model with mode: scratch"


class TimmBackbone(nn.Module):
    """A timm model without a classifier.

    Args:
        model: built with `num_classes=0`.
        data: its data config (`timm.data.resolve_model_data_config`).
    """

    def __init__(self, model: Any, data: dict[str, Any]):
        super().__init__()
        self.model = model
        self.data = data
        self.width = int(getattr(model, "head_hidden_size", None) or model.num_features)
        self.step_width = int(model.num_features)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`pixels` [B, 3, H, W] -> [B, G]."""
        return self.model(inputs["pixels"])

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`pixels` [B, 3, H, W] -> the patches, or the places of the last feature map row by row."""
        found = self.model.forward_features(inputs["pixels"])
        if found.ndim == 4:
            last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
            return all_of(found.flatten(1, 2) if last else found.flatten(2).transpose(1, 2))
        return all_of(found[:, int(getattr(self.model, "num_prefix_tokens", 0)) :])

    def pooling_modules(self) -> list[nn.Module]:
        """What a head over the sequence leaves unused."""
        named = [
            getattr(self.model, name, None) for name in ("attn_pool", "fc_norm", "head_drop", "head", "classifier")
        ]
        return [module for module in named if isinstance(module, nn.Module)]


def load(spec: TimmTower.Spec) -> tuple[TimmBackbone, PixelProcessor]:
    """Backbone and processor of a spec. A model from scratch sees the whole image: no margin is cropped off.

    Raises:
        UserError: one line for a name, an option or a file that is not there, is pickled, or does not fit.

    Example:
        small = {"patch_size": 4, "depth": 6, "embed_dim": 192, "num_heads": 3}
        spec = TimmTower.Spec(name="vit_tiny_patch16_224", mode="scratch", image_size=32, options=small)
        backbone, processor = load(spec)
    """
    folder = Path(spec.name).expanduser()
    is_folder = folder.is_dir()
    if not is_folder and not spec.name.startswith(HUB):
        check_name(spec)
    name = f"local-dir:{folder}" if is_folder else spec.name
    options: dict[str, Any] = {"num_classes": 0, **spec.options}
    with contextlib.ExitStack() as stack:
        if spec.mode != "scratch":  # what weights replace takes nothing from the run's generator
            stack.enter_context(torch.random.fork_rng(devices=[]))
            file = str(weights_file(spec, folder if is_folder else None))
            options["pretrained_cfg_overlay"] = {"source": "", "file": file, "custom_load": False}
        try:
            if spec.image_size is not None and has_fixed_size(name):
                options["img_size"] = spec.image_size
            with missing_keys() as missing:
                model = timm.create_model(name, pretrained=spec.mode != "scratch", **options)
        except (OSError, RuntimeError, TypeError, ValueError, KeyError, AssertionError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f"tower {spec.name!r}: timm cannot build it with options {spec.options}: {reason}"
            ) from error
    if missing:
        raise UserError(f"tower {spec.name!r}: {options['pretrained_cfg_overlay']['file']}: {missing[0][:200]}")
    changes: dict[str, Any] = {}
    if spec.image_size is not None:
        changes["input_size"] = (3, spec.image_size, spec.image_size)
    if spec.mode == "scratch" and not is_folder:
        changes["crop_pct"] = 1.0
    data = resolve_model_data_config(model, args=changes)
    return TimmBackbone(model, data), image_processor(data)


@contextlib.contextmanager
def missing_keys() -> Iterator[list[str]]:
    """What timm says of parameters that a file lacks: without a classifier it loads loosely, and only logs this."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "Missing keys" in record.getMessage():
                said.append(record.getMessage())

    logger, keep = logging.getLogger("timm.models._builder"), Keep()
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False  # it also warns of the classifier, which nobody wants
    logger.addHandler(keep)
    try:
        yield said
    finally:
        logger.removeHandler(keep)
        logger.setLevel(level)
        logger.propagate = propagate


def check_name(spec: TimmTower.Spec) -> None:
    """Refuse a name timm does not know.

    Raises:
        UserError: with the nearest names.
    """
    if spec.name.startswith((".", "/", "~")):
        raise UserError(f"tower {spec.name!r}: no such folder ({Path(spec.name).expanduser().absolute()})")
    if not timm.is_model(spec.name):
        close = difflib.get_close_matches(spec.name.split(".")[0].lower(), timm.list_models(), 3, 0.5)
        raise UserError(
            f"tower {spec.name!r}: timm has no such model; nearest: {', '.join(close) or 'none'} (all: "
            f"timm.list_models(); from the hub: {HUB}OWNER/MODEL)"
        )


def has_fixed_size(name: str) -> bool:
    """Must the model be built for its image size, as ViTs are?"""
    if name.startswith("local-dir:") or name.startswith(HUB):
        model: Any = timm.create_model(name, pretrained=False, num_classes=0)
        return bool(model.pretrained_cfg.get("fixed_input_size", False))
    config = get_pretrained_cfg(name)
    return config is not None and bool(config.fixed_input_size)


def weights_file(spec: TimmTower.Spec, folder: Path | None) -> Path:
    """The safetensors file of a spec, looked up on the hub where it is not local.

    Raises:
        UserError: there is none.
    """
    if spec.weights is not None:
        path = spec.weights.expanduser()
        if not path.is_file():
            raise UserError(f"tower {spec.name!r}: weights: no such file ({path.absolute()})")
        if path.suffix != ".safetensors":
            raise UserError(f"tower {spec.name!r}: weights: {path}: {PICKLED}")
        return path
    if folder is not None:
        if not (folder / FILE).is_file():
            raise UserError(f"tower {spec.name!r}: {folder} has no {FILE}; {PICKLED}")
        return folder / FILE
    if spec.name.startswith(HUB):
        repository, file = spec.name.removeprefix(HUB), None
    else:
        config = get_pretrained_cfg(spec.name)
        if config is None or not config.hf_hub_id:
            raise UserError(
                f"tower {spec.name!r}: timm has no weights for this name on the hub; see timm.list_pretrained(), or "
                "train it with mode: scratch"
            )
        repository, file = config.hf_hub_id, config.hf_hub_filename
    repository, _, revision = repository.partition("@")
    wanted = FILE
    if file:
        wanted = "open_clip_model.safetensors" if "open_clip" in file else str(Path(file).with_suffix(".safetensors"))
    return hub_file(spec.name, repository, wanted, PICKLED, revision or None)


def image_processor(data: dict[str, Any]) -> PixelProcessor:
    """timm's evaluation transform (`timm.data.create_transform`)."""
    height, width = data["input_size"][1:]
    border = data["crop_mode"] == "border"
    known = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
    return PixelProcessor(
        (height, width),
        data["mean"],
        data["std"],
        interpolation=data["interpolation"] if data["interpolation"] in known else "bicubic",
        resize={"squash": "squash", "border": "longest"}.get(data["crop_mode"], "shortest"),  # type: ignore[arg-type]
        scale=(math.floor(height / data["crop_pct"]), math.floor(width / data["crop_pct"])),
        fill=[round(255 * part) for part in data["mean"]] if border else (0, 0, 0),
    )


def save(backbone: Any, folder: Path, weights: bool) -> None:
    """Write what `load(local_spec(spec, folder))` needs."""
    folder.mkdir(parents=True, exist_ok=True)
    save_config_for_hf(backbone.model, str(folder / "config.json"), data_config=backbone.data)
    if weights:
        tensors = {name: value.detach().cpu().contiguous() for name, value in own_state(backbone.model).items()}
        with written_whole(folder / FILE) as beside:
            save_file(tensors, beside)
