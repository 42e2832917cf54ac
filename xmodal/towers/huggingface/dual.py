"""The two sides of `transformers` dual encoders.

CLIP, MetaCLIP 2, SigLIP and SigLIP 2 are built without their other side, and may train. The rest of the family
(`WHOLE`) is built whole for each side, and stays locked. Input: a `TransformersTower` spec with a `side`. Output:
that side's model; for texts also backbone and processor. Axes: B items, T tokens, G features.
"""

from typing import Any

import transformers
from torch import Tensor, nn

from xmodal.config.tower import Side
from xmodal.errors import UserError
from xmodal.towers.huggingface.model import build_model, read_tokenizer
from xmodal.towers.huggingface.source import Source
from xmodal.towers.huggingface.text_processor import FixedTextProcessor, TextProcessor
from xmodal.towers.kinds.transformers import TransformersTower

# config's model_type -> the class of each side whose output is what get_image_features / get_text_features give
# (by name: transformers imports a model's code only when it is asked for)
DUAL: dict[str, dict[Side, str]] = {
    "clip": {"visual": "CLIPVisionModelWithProjection", "text": "CLIPTextModelWithProjection"},
    "metaclip_2": {"visual": "MetaClip2VisionModelWithProjection", "text": "MetaClip2TextModelWithProjection"},
    "siglip": {"visual": "SiglipVisionModel", "text": "SiglipTextModel"},
    "siglip2": {"text": "Siglip2TextModel"},
}
# model_type of one side alone, as such a class saves it -> (dual encoder, side)
SIDES: dict[str, tuple[str, Side]] = {
    "clip_vision_model": ("clip", "visual"),
    "clip_text_model": ("clip", "text"),
    "metaclip_2_vision_model": ("metaclip_2", "visual"),
    "metaclip_2_text_model": ("metaclip_2", "text"),
    "siglip_vision_model": ("siglip", "visual"),
    "siglip_text_model": ("siglip", "text"),
    "siglip2_text_model": ("siglip2", "text"),
}
# dual encoders whose whole model gives pooled features of either side
WHOLE = ("align", "altclip", "blip", "chinese_clip", "clipseg", "groupvit", "vision-text-dual-encoder")
BOTH = (*(kind for kind, sides in DUAL.items() if len(sides) == 2), *WHOLE)


class TextSideBackbone(nn.Module):
    """The text embedding of a dual encoder, as its `get_text_features` gives it.

    Args:
        model: from `side_model`.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        last = model.text_projection if hasattr(model, "text_projection") else model.head
        self.width = int(last.out_features)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`input_ids` [B, T], and `attention_mask` [B, T] where the model takes one -> [B, G]."""
        output = self.model(input_ids=inputs["input_ids"], attention_mask=inputs.get("attention_mask"))
        return output.text_embeds if hasattr(output, "text_embeds") else output.pooler_output


class WholeBackbone(nn.Module):
    """One side of a dual encoder of `WHOLE`: its own `get_image_features`, or `get_text_features`.

    Args:
        model: the whole dual encoder.
        side: which of them.
    """

    def __init__(self, model: Any, side: Side):
        super().__init__()
        self.model = model
        self.side = side
        self.width = int(model.config.projection_dim)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`pixels` [B, 3, H, W], or `input_ids` and `attention_mask` [B, T] -> [B, G]."""
        if self.side == "visual":
            output = self.model.get_image_features(pixel_values=inputs["pixels"])
        else:
            output = self.model.get_text_features(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            )
        return output if isinstance(output, Tensor) else output.pooler_output


def whole_model(spec: TransformersTower.Spec, source: Source, config: Any) -> WholeBackbone:
    """A side of a dual encoder of `WHOLE`.

    Raises:
        UserError: a mode but locked, or low-rank updates: the other side would train with it.
    """
    if spec.mode != "locked" or spec.lora is not None:
        raise UserError(
            f"tower {spec.name!r}: {config.model_type} is built whole and stays locked; leave mode and lora"
        )
    assert spec.side is not None
    return WholeBackbone(build_model(transformers.AutoModel, source, config, spec.mode), spec.side)


def side_of(spec: TransformersTower.Spec, config: Any) -> str:
    """The dual encoder a config belongs to.

    Raises:
        UserError: it has no such side.
    """
    model_type = config.model_type
    if model_type in SIDES:
        family, only = SIDES[model_type]
        if only != spec.side:
            raise UserError(f"tower {spec.name!r}: holds the {only} side of a {family} model, not the {spec.side} side")
        return family
    if model_type not in DUAL:
        raise UserError(
            f"tower {spec.name!r}: side {spec.side}: type {model_type!r} is none of the dual encoders known here "
            f"({', '.join([*DUAL, *WHOLE])}); leave side out for an encoder of one modality"
        )
    if spec.side not in DUAL[model_type]:
        raise UserError(
            f"tower {spec.name!r}: side {spec.side}: {model_type} models take patches of any image shape (NaFlex), "
            "which is not built here; use a SigLIP 2 of fixed resolution (their type is siglip)"
        )
    return str(model_type)


def side_model(spec: TransformersTower.Spec, source: Source, config: Any) -> Any:
    """One side of a dual encoder, out of the whole one or of a folder that holds the side alone.

    Raises:
        UserError: it has no such side, or no weights that can be read.
    """
    assert spec.side is not None
    family = side_of(spec, config)
    if config.model_type in DUAL:
        whole, config = config, config.vision_config if spec.side == "visual" else config.text_config
        if hasattr(whole, "projection_dim"):
            config.projection_dim = whole.projection_dim
    return build_model(getattr(transformers, DUAL[family][spec.side]), source, config, spec.mode)


def load_text_side(
    spec: TransformersTower.Spec, source: Source, config: Any
) -> tuple[TextSideBackbone | WholeBackbone, TextProcessor]:
    """Build the text side of a dual encoder and its processor.

    Raises:
        UserError: it has none, a pooling or a length that cannot be, or files that cannot be read.
    """
    if spec.pooling != "auto":
        raise UserError(f"tower {spec.name!r}: side text has a pooling of its own; leave pooling out")
    tokenizer = read_tokenizer(source, config)
    if config.model_type in WHOLE:
        found = [getattr(config.get_text_config(), "max_position_embeddings", None), tokenizer.model_max_length]
        most = min(int(n) for n in found if n is not None)
        return whole_model(spec, source, config), TextProcessor(tokenizer, min(most, spec.max_length or most))
    model = side_model(spec, source, config)
    limit = int(model.config.max_position_embeddings)
    length = spec.max_length or limit
    if length > limit:
        raise UserError(f"tower {spec.name!r}: max_length {length}: the model has {limit} positions")
    fixed = side_of(spec, config).startswith("siglip")
    if fixed and length != limit:
        raise UserError(
            f"tower {spec.name!r}: max_length {length}: this model always reads {limit} tokens; leave it out"
        )
    make = FixedTextProcessor if fixed else TextProcessor
    return TextSideBackbone(model), make(tokenizer, length)
