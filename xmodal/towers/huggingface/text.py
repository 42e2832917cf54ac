"""Text encoders of `transformers`: tokens in, pooled token features out.

Input: texts, through `TextProcessor`. Output: pooled features [B, G]. Axes: B texts, T tokens, G features.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from xmodal.errors import UserError
from xmodal.towers.frames import Frames
from xmodal.towers.huggingface.layers import LayerStates, layer_states
from xmodal.towers.huggingface.model import build_model, read_tokenizer
from xmodal.towers.huggingface.sentence_folder import Dense, SentenceSettings, read_dense, write_settings
from xmodal.towers.huggingface.source import Source
from xmodal.towers.huggingface.text_processor import Pooling, TextProcessor
from xmodal.towers.kinds.transformers import TransformersTower


class TextBackbone(nn.Module):
    """Pooled last hidden states: mean over the tokens, the first token, or the last one.

    Args:
        model: a `transformers` encoder (or a decoder-only model: use `last`).
        pooling: how.
        dense: modules after the pooling.
        sentence: it came from a sentence-transformers folder, and is saved as one.
        skip: tokens at the start of every text that the pooling leaves out: a prompt's.
        states: the layers that are wanted; default: the last.
    """

    def __init__(
        self,
        model: Any,
        pooling: Pooling,
        dense: Sequence[Dense] = (),
        sentence: bool = False,
        skip: int = 0,
        states: LayerStates | None = None,
    ):
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.sentence = sentence
        self.skip = skip
        self.dense = nn.ModuleList(dense)
        self.states = states or layer_states("last", model, "")
        self.step_width = len(self.states.wanted) * int(model.config.hidden_size)
        self.width = dense[-1].linear.out_features if dense else self.step_width

    def extra_repr(self) -> str:
        """What the fingerprint must tell besides the weights."""
        return self.states.told

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`input_ids` and `attention_mask` [B, T], padded on the right -> [B, G]."""
        features = pool(self._hidden(inputs), inputs["attention_mask"], self.pooling, self.skip)
        for module in self.dense:
            features = module(features)
        return features

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`input_ids` and `attention_mask` [B, T], padded on the right -> the hidden states of the tokens."""
        return Frames(self._hidden(inputs), inputs["attention_mask"].sum(1))

    def _hidden(self, inputs: dict[str, Tensor]) -> Tensor:
        given = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
        return self.states.of(lambda: self.model(**given).last_hidden_state)

    def pooling_modules(self) -> list[nn.Module]:
        """What a head over the tokens leaves unused."""
        return list(self.dense)


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling, skip: int = 0) -> Tensor:
    """hidden [B, T, G] and mask [B, T] (1 for a token, then 0) -> [B, G]; the first `skip` tokens do not count.

    Example:
        pool(torch.ones(1, 3, 8), torch.tensor([[1, 1, 0]]), "mean").shape  # [1, 8]
    """
    if pooling == "cls":
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), (mask.sum(1) - 1).clamp(max=skip)]
    if pooling == "last":
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), mask.sum(1) - 1]
    weights = mask[..., None].float()
    weights = torch.cat([torch.zeros_like(weights[:, :skip]), weights[:, skip:]], dim=1)
    # in float32 whatever the model ran in; a text cut down to its prompt has nothing left to pool
    return (hidden.float() * weights).sum(1) / weights.sum(1).clamp_min(1)


def load_text(
    spec: TransformersTower.Spec, source: Source, config: Any, settings: SentenceSettings | None
) -> tuple[TextBackbone, TextProcessor]:
    """Build a text encoder and its processor.

    Raises:
        UserError: no text encoder, a pooling or a length it does not have, or files that cannot be read.
    """
    tokenizer = read_tokenizer(source, config)
    encodes = type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING  # for T5: its encoder alone
    if not encodes and (getattr(config, "is_encoder_decoder", False) or hasattr(config, "vision_config")):
        raise UserError(
            f"tower {source.name!r}: model type {config.model_type!r} is more than a text encoder; name an encoder, or "
            "for a dual encoder of images and texts set side to text"
        )
    model = build_model(
        transformers.AutoModelForTextEncoding if encodes else transformers.AutoModel, source, config, spec.mode
    )
    if "add_pooling_layer" in inspect.signature(type(model).__init__).parameters:
        model.pooler = None  # unused, often not in the file: it would be a random part of the fingerprint
    pooling = choose_pooling(spec, settings)
    max_length = choose_length(spec, settings, tokenizer.model_max_length, position_limit(model))
    dense = [read_dense(source.inside(""), folder) for folder in (settings.dense if settings else ())]
    lower = settings.lower if settings else False
    if dense and spec.told_layers:
        raise UserError(f"tower {spec.name!r}: layers: its dense modules take the last layer; leave layers out")
    prompt, pools_prompt = (settings.prompt, settings.pools_prompt) if settings else ("", True)
    processor = TextProcessor(tokenizer, max_length, lower, pooling, prompt, pools_prompt)
    states = layer_states(spec.layers, model, spec.name)
    backbone = TextBackbone(model, pooling, dense, settings is not None, processor.prompt_tokens, states)
    return backbone, processor


def choose_pooling(spec: TransformersTower.Spec, settings: SentenceSettings | None) -> Pooling:
    """The spec's pooling; auto: the sentence-transformers folder's own, else the mean.

    Raises:
        UserError: the folder's own is a kind that is not understood.
    """
    if spec.pooling != "auto":
        return spec.pooling
    if settings is None:
        return "mean"
    if settings.pooling is None:
        raise UserError(
            f"tower {spec.name!r}: its own pooling is {settings.pooling_found}; set pooling to mean, cls or last"
        )
    return settings.pooling  # type: ignore[return-value]


def choose_length(
    spec: TransformersTower.Spec, settings: SentenceSettings | None, tokenizer_length: int, limit: int | None
) -> int | None:
    """Tokens a text may have: the spec's, else the sentence-transformers folder's, else the tokenizer's.

    None where there is no limit.

    Raises:
        UserError: the spec asks for more than the model has positions.
    """
    if spec.max_length is not None:
        if limit is not None and spec.max_length > limit:
            raise UserError(f"tower {spec.name!r}: max_length {spec.max_length}: the model has {limit} positions")
        return spec.max_length
    own = settings.max_length if settings else None
    length = own if own is not None else tokenizer_length
    if limit is not None:
        length = min(length, limit)
    return length if length < 10**9 else None  # a tokenizer without a limit says 10**30


def position_limit(model: Any) -> int | None:
    """Tokens the model has positions for. RoBERTa's kind counts from padding_idx + 1, and so has fewer than it says."""
    limit = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.num_embeddings - module.padding_idx - 1)
    return int(limit) if limit and limit > 0 else None


def save_sentence_files(backbone: nn.Module, processor: Any, folder: Path) -> None:
    """What makes a folder one of sentence-transformers, if the backbone came from such a folder."""
    if isinstance(backbone, TextBackbone) and backbone.sentence:
        settings = SentenceSettings(
            transformer="", pooling=backbone.pooling, pooling_found=backbone.pooling, max_length=processor.max_length,
            lower=processor.lower, dense=(), prompt=processor.prompt, pools_prompt=processor.pools_prompt,
        )  # fmt: skip
        dense = [module for module in backbone.dense if isinstance(module, Dense)]
        write_settings(folder, settings, backbone.model.config.hidden_size, dense)
