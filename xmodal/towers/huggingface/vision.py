"""Image encoders of `transformers`, and the image side of its dual encoders.

Input: PIL images, through an `PixelProcessor` with the model's own settings. Output: pooled features [B, G]. Axes: B
images, T tokens, G features.
"""

import inspect
from pathlib import Path
from typing import Any, Literal

import transformers
from PIL import Image
from torch import Tensor, nn

from xmodal.errors import UserError
from xmodal.towers.frames import Frames, all_of
from xmodal.towers.huggingface.dual import SIDES, WHOLE, WholeBackbone, side_model, whole_model
from xmodal.towers.huggingface.layers import LayerStates, layer_states
from xmodal.towers.huggingface.model import build_model
from xmodal.towers.huggingface.source import Source
from xmodal.towers.image_processor import PixelProcessor
from xmodal.towers.kinds.transformers import TransformersTower

ImagePooling = Literal["pooler", "cls", "mean"]

# Their last hidden state starts with a class token (and registers), normalised as a feature should be.
CLASS_TOKEN = ("vit", "deit", "vit_msn", "dinov2", "dinov2_with_registers", "dinov3_vit")
# The vision halves of dual encoders have a pooled output of their own: CLIP's class token, SigLIP's attention pooling.
POOLED = tuple(model_type for model_type, (_, side) in SIDES.items() if side == "visual")
VISION = CLASS_TOKEN + POOLED


class TransformersImageProcessor(PixelProcessor):
    """An `PixelProcessor` with the settings of a `transformers` image processor, which it keeps to be saved with.

    Both resize with PIL; `transformers` on torchvision differs by one grey level here and there.
    """

    def __init__(self, library: Any, name: str):
        self.library = library
        size, crop = as_sizes(library.size), as_sizes(getattr(library, "crop_size", None))
        cropped = bool(getattr(library, "do_center_crop", False))
        problem = ""
        if not library.do_resize or not set(size) <= {"shortest_edge", "height", "width"} or len(size) not in (1, 2):
            problem = f"do_resize {library.do_resize} with size {size}"
        elif set(size) == {"shortest_edge"} and not (cropped and set(crop) == {"height", "width"}):
            problem = f"size {size} without a centre crop, which gives images of many shapes"
        elif not library.do_rescale or abs(library.rescale_factor * 255 - 1) > 1e-6:
            problem = f"do_rescale {library.do_rescale} with rescale_factor {library.rescale_factor}"
        if problem:
            raise UserError(
                f"tower {name!r}: its image processor has {problem}: not understood here; use another model"
            )
        shortest = size.get("shortest_edge")
        scale = (shortest, shortest) if shortest else (size["height"], size["width"])
        super().__init__(
            (crop["height"], crop["width"]) if cropped else scale,
            [float(part) for part in library.image_mean] if library.do_normalize else [0.0] * 3,
            [float(part) for part in library.image_std] if library.do_normalize else [1.0] * 3,
            interpolation=Image.Resampling(library.resample).name.lower(),  # type: ignore[arg-type]
            resize="shortest" if shortest else "squash",
            scale=scale,
            offset="down",
        )

    def save(self, folder: Path) -> None:
        """Write the `transformers` image processor."""
        self.library.save_pretrained(folder)


def as_sizes(found: Any) -> dict[str, int]:
    """`{"height": H, "width": W}` or `{"shortest_edge": S}`, without what is not set."""
    return {key: int(value) for key, value in dict(found or {}).items() if value is not None}


class VisionBackbone(nn.Module):
    """Pooled features of an image encoder.

    Args:
        model: a model of `VISION`.
        pooling: `pooler`, the model's own pooled output; `cls`, the first token; `mean`, over the patches.
        states: the layers that are wanted; default: the last. `pooler` knows no other.
    """

    def extra_repr(self) -> str:
        """What the fingerprint must tell besides the weights."""
        return f"pooling={self.pooling}{self.states.told}"

    def __init__(self, model: Any, pooling: ImagePooling, states: LayerStates | None = None):
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.states = states or layer_states("last", model, "")
        self.width = len(self.states.wanted) * int(model.config.hidden_size)
        siglip = model.config.model_type.startswith("siglip")
        self.prefix = 0 if siglip else 1 + int(getattr(model.config, "num_register_tokens", 0) or 0)
        for name, parameter in model.named_parameters():
            if name.endswith("mask_token"):  # never used, and DDP refuses parameters without a gradient
                parameter.requires_grad_(False)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`pixels` [B, 3, H, W] -> [B, G]."""
        if self.pooling == "pooler":
            return self.model(pixel_values=inputs["pixels"]).pooler_output
        hidden = self._hidden(inputs)
        return hidden[:, 0] if self.pooling == "cls" else hidden[:, self.prefix :].mean(1)

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`pixels` [B, 3, H, W] -> the patches, without class token and registers."""
        return all_of(self._hidden(inputs)[:, self.prefix :])

    def _hidden(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.states.of(lambda: self.model(pixel_values=inputs["pixels"]).last_hidden_state)

    def pooling_modules(self) -> list[nn.Module]:
        """What a head over the patches leaves unused."""
        inner = getattr(self.model, "vision_model", self.model)
        named = [getattr(inner, name, None) for name in ("pooler", "head", "post_layernorm")]
        return [module for module in named if isinstance(module, nn.Module)] if self.pooling == "pooler" else []


class VisualSideBackbone(nn.Module):
    """The image embedding of a dual encoder, as its `get_image_features` gives it.

    Args:
        model: from `side_model`.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        projection = getattr(model, "visual_projection", None)
        self.width = int(model.config.hidden_size if projection is None else projection.out_features)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`pixels` [B, 3, H, W] -> [B, G]."""
        output = self.model(pixel_values=inputs["pixels"])
        return output.image_embeds if hasattr(output, "image_embeds") else output.pooler_output


def load_vision(
    spec: TransformersTower.Spec, source: Source, config: Any
) -> tuple[VisionBackbone | VisualSideBackbone | WholeBackbone, TransformersImageProcessor]:
    """Build an image encoder, or the image side of a dual encoder.

    Raises:
        UserError: a pooling it does not have, an image processor that is missing or not understood, or no weights.
    """
    if spec.max_length is not None:
        raise UserError(f"tower {spec.name!r}: max_length counts tokens of text; leave it out for images")
    processor = read_processor(spec, source)
    if spec.side == "visual":
        if spec.pooling != "auto":
            raise UserError(f"tower {spec.name!r}: side visual has a pooling of its own; leave pooling out")
        if config.model_type in WHOLE:
            return whole_model(spec, source, config), processor
        return VisualSideBackbone(side_model(spec, source, config)), processor
    pooled = config.model_type in POOLED
    allowed = ("auto", "mean") if config.model_type.startswith("siglip") else ("auto", "cls", "mean")
    if spec.pooling not in allowed:
        raise UserError(f"tower {spec.name!r}: pooling {spec.pooling!r}: this image model has {', '.join(allowed)}")
    mean = spec.pooling == "mean" or (bool(spec.told_layers) and config.model_type.startswith("siglip"))
    pooling: ImagePooling = "mean" if mean else "pooler" if pooled and not spec.told_layers else "cls"
    model = build_model(transformers.AutoModel, source, config, spec.mode)
    if "add_pooling_layer" in inspect.signature(type(model).__init__).parameters:
        model.pooler = None  # unused, often not in the file: it would be a random part of the fingerprint
    return VisionBackbone(model, pooling, layer_states(spec.layers, model, spec.name)), processor


def read_processor(spec: TransformersTower.Spec, source: Source) -> TransformersImageProcessor:
    """The model's own image processor.

    Raises:
        UserError: missing or not understood.
    """
    try:
        library = transformers.AutoImageProcessor.from_pretrained(source.location, **source.options())
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError) as error:
        raise source.unreadable(error, "image processor (preprocessor_config.json)") from error
    return TransformersImageProcessor(library, spec.name)
