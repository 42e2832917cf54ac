"""The folder of sentence-transformers' Transformer module: a model of `transformers` and what prepares its items."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from xmodal.files import write_json
from xmodal.towers.huggingface.model import quiet


@dataclass(frozen=True)
class TransformerFiles:
    """A model, what prepares its items, and how that library is to call it.

    Args:
        kind: text, image or audio.
        model: of `transformers`, without low-rank updates.
        library: its tokenizer, image processor or feature extractor.
        pooled: is its `pooler_output` taken, and not the states of its tokens?
        prompt: put before every text.
        settings: more of sentence_bert_config.json.
    """

    kind: str
    model: Any
    library: Any
    pooled: bool
    prompt: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def text(cls, model: Any, processor: Any, pooled: bool) -> Self:
        """Texts through a `TextProcessor`: its length, its case, its prompt."""
        from xmodal.towers.huggingface.text_processor import FixedTextProcessor

        tokenizer = copy.deepcopy(processor.tokenizer)
        tokenizer.padding_side = "right"
        settings: dict[str, Any] = {"do_lower_case": processor.lower}
        if processor.max_length is not None:
            tokenizer.model_max_length = settings["max_seq_length"] = processor.max_length
        if isinstance(processor, FixedTextProcessor):  # the model reads its padding, and takes no mask
            tokenizer.model_input_names = ["input_ids"]
            fixed = {"padding": "max_length", "max_length": processor.max_length, "truncation": True}
            settings["processing_kwargs"] = {"text": fixed}
        return cls("text", model, tokenizer, pooled, processor.prompt, settings)

    @classmethod
    def image(cls, model: Any, processor: Any, pooled: bool) -> Self:
        """Images through Pillow, as here: torchvision's resizing differs by a grey level in places."""
        return cls("image", model, processor.library, pooled, settings={"processor_kwargs": {"backend": "pil"}})

    @classmethod
    def audio(cls, model: Any, processor: Any) -> Self:
        """Spectrograms of the model's whole window."""
        return cls("audio", model, processor.extractor, pooled=True)

    def write(self, folder: Path) -> None:
        """Write config.json, model.safetensors, the tokenizer or extractor, and sentence_bert_config.json."""
        folder.mkdir(parents=True)
        with quiet():
            self.model.save_pretrained(folder)
            self.library.save_pretrained(folder)
        output = "pooler_output" if self.pooled else "last_hidden_state"
        called: dict[str, Any] = {
            "transformer_task": "feature-extraction",
            "modality_config": {self.kind: {"method": "forward", "method_output_name": output}},
            "module_output_name": "sentence_embedding" if self.pooled else "token_embeddings",
        }
        write_json(folder / "sentence_bert_config.json", called | self.settings)
