"""One side of any open_clip model, built, read and saved without ever unpickling.

Input: an `OpenCLIPTower` spec. Output: backbone and processor; or a folder that rebuilds them without the network:
open_clip_config.json (open_clip's own format), model.safetensors where the weights are needed, tokenizer files.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from xmodal.config.tower import Side
from xmodal.errors import UserError
from xmodal.files import write_json
from xmodal.towers.image_processor import PixelProcessor
from xmodal.towers.kinds.open_clip import OpenCLIPTower
from xmodal.towers.openclip.source import CONFIG, OpenCLIPSource, locate
from xmodal.towers.openclip.tokens import TokenProcessor, tokenizer
from xmodal.towers.weights import save_backbone, take_weights

OTHER_SIDE = ("visual", "text", "text_decoder", "logit_scale", "logit_bias")  # attributes of open_clip's models
TEXT_MODEL = "text_model"  # folder of a transformers text model's config, inside a saved tower
# What stands in for the side that a saved tower leaves out: it is built and thrown away.
SMALL_VISION = {"image_size": 8, "patch_size": 8, "width": 8, "head_width": 8, "layers": 1}
SMALL_TEXT = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}


class OpenCLIPBackbone(nn.Module):
    """One side of a model: its `encode_image` or `encode_text`, not normalised.

    Args:
        model: an open_clip model; what the other side needs is taken out of it.
        side: visual or text.
        width: of the embedding.
        config: `model_cfg` and `preprocess_cfg` it was built from.
    """

    def __init__(self, model: nn.Module, side: Side, width: int, config: dict[str, Any]):
        super().__init__()
        self.model = model
        self.side = side
        self.width = width
        self.config = config
        text = {"text"} if hasattr(model, "text") else set()  # CLIP keeps its text side's parts at the top
        keep = {"visual"} if side == "visual" else ({*model._modules, *model._parameters} - set(OTHER_SIDE)) | text
        for name in [*model._modules, *model._parameters]:
            if name not in keep:
                delattr(model, name)
        if side == "visual" and hasattr(model, "attn_mask"):
            del model.attn_mask

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`pixels` [B, 3, H, W] or `tokens` [B, T] -> [B, G]."""
        if self.side == "visual":
            return self.model.encode_image(inputs["pixels"], normalize=False)  # type: ignore[operator]
        return self.model.encode_text(inputs["tokens"], normalize=False)  # type: ignore[operator]


def load(spec: OpenCLIPTower.Spec) -> tuple[OpenCLIPBackbone, PixelProcessor | TokenProcessor]:
    """Backbone and processor of one side.

    Raises:
        UserError: one line for a model, a tag or a file that is not there, is pickled, or does not fit.

    Example:
        backbone, processor = load(OpenCLIPTower.Spec(name="ViT-B-32", pretrained="laion2b_s34b_b79k", side="visual"))
    """
    source = locate(spec)
    weights = None if spec.mode == "scratch" else require_weights(spec, source.weights)
    with contextlib.ExitStack() as stack:
        if weights is not None:  # what weights replace takes nothing from the run's generator
            stack.enter_context(torch.random.fork_rng(devices=[]))
        model = build(spec, source)
    config = {"model_cfg": source.model, "preprocess_cfg": source.preprocess}
    if weights is not None and not source.one_side:
        read_weights(spec, model, weights)
    size = getattr(model.visual, "image_size", 0)
    backbone = OpenCLIPBackbone(model, spec.side, source.model["embed_dim"], config)
    if weights is not None and source.one_side:
        take_weights(backbone, weights.parent)
    if spec.side == "visual":
        return backbone, image_processor(source.preprocess, size)
    return backbone, TokenProcessor(tokenizer(spec, source))


def build(spec: OpenCLIPTower.Spec, source: OpenCLIPSource) -> Any:
    """The whole model of a source, with random weights."""
    text = source.model["text_cfg"]
    if spec.side == "text" and text.get("hf_pooler_type") == "max_pooler":
        raise UserError(
            f"tower {spec.name!r}: open_clip's max_pooler fails on every text; set text_cfg.hf_pooler_type to "
            "mean_pooler or cls_pooler in the model config"
        )
    text_model = text.get("hf_model_name")
    if text_model and source.folder is not None and (source.folder / text_model).is_dir():
        text = text | {"hf_model_name": str(source.folder / text_model)}
    with tempfile.TemporaryDirectory() as folder, quiet():
        write_json(Path(folder) / CONFIG, {"model_cfg": source.model | {"text_cfg": text}})
        try:
            return open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
        except (OSError, RuntimeError, TypeError, ValueError, KeyError, AssertionError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(f"tower {spec.name!r}: open_clip cannot build its model config: {reason}") from error


def require_weights(spec: OpenCLIPTower.Spec, path: Path | None) -> Path:
    """The weights a tower that is not from scratch needs, before a large model is built in vain.

    Raises:
        UserError: none were named.
    """
    if path is None:
        tags = open_clip.list_pretrained_tags_by_model(spec.name)
        way = f"set pretrained to one of {', '.join(tags)}, or to" if tags else "set pretrained to"
        raise UserError(f"tower {spec.name!r}: mode {spec.mode} needs weights; {way} a safetensors file")
    return path


def read_weights(spec: OpenCLIPTower.Spec, model: nn.Module, path: Path) -> None:
    """Load a whole model's safetensors, converted where open_clip knows how.

    Raises:
        UserError: damaged, or of another model.
    """
    try:
        with quiet():
            open_clip.load_checkpoint(model, str(path))
    except (OSError, SafetensorError) as error:
        raise UserError(f"tower {spec.name!r}: {path}: cannot be read as safetensors ({error})") from error
    except (RuntimeError, KeyError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"tower {spec.name!r}: {path}: weights of another model: {reason}") from error


def image_processor(preprocess: dict[str, Any], image_size: int | tuple[int, int]) -> PixelProcessor:
    """open_clip's evaluation transform (`image_transform_v2`)."""
    size = (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])
    resize = preprocess["resize_mode"]
    bilinear = preprocess["interpolation"] == "bilinear"
    if resize == "shortest" and size[0] != size[1]:
        bilinear = False  # as open_clip does it, whatever the config says
    fill = preprocess["fill_color"]
    return PixelProcessor(
        size,
        preprocess["mean"],
        preprocess["std"],
        interpolation="bilinear" if bilinear else "bicubic",
        resize=resize,
        fill=(fill, fill, fill) if isinstance(fill, int) and resize == "longest" else (0, 0, 0),
    )


def save(backbone: Any, processor: Any, folder: Path, weights: bool) -> None:
    """Write what `load(local_spec(spec, folder))` needs; the weights are those of this side alone."""
    folder.mkdir(parents=True, exist_ok=True)
    model = json.loads(json.dumps(backbone.config["model_cfg"]))
    if backbone.side == "visual":
        model["text_cfg"] = SMALL_TEXT
        if "multimodal_cfg" in model:
            model["multimodal_cfg"] = SMALL_TEXT | {"context_length": 8, "mlp_ratio": 1}
    else:
        model["vision_cfg"] = SMALL_VISION
        inner = getattr(getattr(backbone.model, "text", None), "config", None)
        if inner is not None and model["text_cfg"].get("hf_model_name"):
            inner.save_pretrained(folder / TEXT_MODEL)
            model["text_cfg"]["hf_model_name"] = TEXT_MODEL
        if hasattr(processor.tokenizer, "save_pretrained"):
            processor.tokenizer.save_pretrained(folder)
    saved = {"model_cfg": model, "preprocess_cfg": backbone.config["preprocess_cfg"], "side": backbone.side}
    write_json(folder / CONFIG, saved)
    if weights:
        save_backbone(backbone, folder)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """open_clip logs, as warnings, that a model without weights has none."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
