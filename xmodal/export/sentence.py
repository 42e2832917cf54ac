"""A run as a folder of sentence-transformers: a Router that sends texts, images and audio to their own modules.

    Router: text  -> Transformer, Pooling, Dense ...
            image -> Transformer, Pooling, Dense ...
    Normalize

Its own modules alone are used, so that nobody has to trust code. What they cannot compute is refused (`cannot_hold`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from xmodal import __version__
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.export.cannot import cannot_hold
from xmodal.export.plain_state import merged
from xmodal.export.sentence_modules import Module, dense, head_modules, pooling, write_router
from xmodal.export.sentence_transformer import TransformerFiles
from xmodal.files import write_json
from xmodal.processor import Processor

FORM = "sentence-transformers"


def write(encoder: Encoder, modalities: list[str], folder: Path) -> list[str]:
    """Write modules.json and what it lists; returns a line for each modality.

    Raises:
        UserError: a tower that the library's own modules cannot hold; two modalities of one kind.
    """
    kinds: dict[str, str] = {}
    routes: dict[str, list[tuple[str, str]]] = {}
    prompts: dict[str, str] = {}
    for modality in modalities:
        kind = encoder.kind(modality)
        if kind in kinds:
            raise UserError(
                f"{encoder.name}: {kinds[kind]} and {modality} are both {kind}, and {FORM} tells inputs apart by kind "
                "alone; export one of them (--modalities)"
            )
        kinds[kind] = modality
        tower, processor = encoder.towers[modality], encoder.processors[modality]
        found = parts(tower.backbone, processor)
        after = found if isinstance(found, str) else head_modules(tower.head)
        if isinstance(after, str):
            raise cannot_hold(FORM, encoder.name, modality, after)
        assert not isinstance(found, str)
        transformer, modules = found
        route = [(f"{kind}_0_Transformer", "Transformer")]
        transformer.write(folder / route[0][0])
        for number, module in enumerate([*modules, *after], start=1):
            route.append((f"{kind}_{number}_{module.kind}", module.kind))
            module.write(folder / route[-1][0])
        routes[kind] = route
        prompts |= {"default": transformer.prompt} if transformer.prompt else {}
    write_router(folder, routes)
    settings: dict[str, Any] = {
        "__version__": {"xmodal": __version__}, "model_type": "SentenceTransformer", "prompts": prompts,
        "default_prompt_name": "default" if prompts else None, "similarity_fn_name": "cosine",
    }  # fmt: skip
    write_json(folder / "config_sentence_transformers.json", settings)
    return [f"{modality}: route {kind!r}" for kind, modality in kinds.items()]


Parts = tuple[TransformerFiles, list[Module]]


def parts(backbone: nn.Module, processor: Processor) -> Parts | str:
    """The Transformer of a backbone and the modules up to its features, or why that library has none."""
    from xmodal.towers.huggingface.dual import TextSideBackbone
    from xmodal.towers.huggingface.speech.audio_spectrogram import ASTBackbone
    from xmodal.towers.huggingface.text import TextBackbone
    from xmodal.towers.huggingface.vision import VisionBackbone, VisualSideBackbone

    known: dict[type[nn.Module], Callable[[Any, Any], Parts | str]] = {
        TextBackbone: _text,
        TextSideBackbone: _text_side,
        VisionBackbone: _vision,
        VisualSideBackbone: _visual_side,
        ASTBackbone: _spectrogram,
    }
    if type(backbone) not in known:
        return f"its backbone is a {type(backbone).__name__}, and that library has no such model"
    return known[type(backbone)](merged(backbone), processor)


LAYERS = "its features are those of chosen layers, and that library takes the last one"


def _text(backbone: Any, processor: Any) -> Parts | str:
    if backbone.states.told:
        return LAYERS
    mode = {"mean": "mean", "cls": "cls", "last": "lasttoken"}[backbone.pooling]
    modules = [pooling(backbone.step_width, mode, processor.pools_prompt)]
    modules += [dense(one.linear.weight, one.linear.bias, one.activation) for one in backbone.dense]
    return TransformerFiles.text(backbone.model, processor, pooled=False), modules


def _text_side(backbone: Any, processor: Any) -> Parts | str:
    projection = getattr(backbone.model, "text_projection", None)  # SigLIP's is inside its model
    modules = [] if projection is None else [dense(projection.weight, projection.bias)]
    return TransformerFiles.text(backbone.model, processor, pooled=True), modules


def _vision(backbone: Any, processor: Any) -> Parts | str:
    if backbone.states.told:
        return LAYERS
    if backbone.pooling == "mean" and backbone.prefix:
        return "its features are the mean over patches alone, and that library's mean has the class token in it"
    pooled = backbone.pooling == "pooler"
    modules = [] if pooled else [pooling(backbone.width, backbone.pooling)]
    return TransformerFiles.image(backbone.model, processor, pooled), modules


def _visual_side(backbone: Any, processor: Any) -> Parts | str:
    projection = getattr(backbone.model, "visual_projection", None)
    modules = [] if projection is None else [dense(projection.weight, projection.bias)]
    return TransformerFiles.image(backbone.model, processor, pooled=True), modules


def _spectrogram(backbone: Any, processor: Any) -> Parts | str:
    if backbone.states.told:
        return LAYERS
    if backbone.pooling != "cls" or not backbone.hearing.cut:
        return (
            "its audio is heard at its own length, and that library pads to the model's window (pooling: cls with "
            "window: cut is the same in both)"
        )
    return TransformerFiles.audio(backbone.model, processor), []
