"""Text encoders of `transformers`: tokens in, pooled token features out.

Enters: texts, through `TextProcessor`. Leaves: pooled features [B, G]. Axes: B texts, T tokens, G features.
"""

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from xmodal.config.towers import TransformersTower
from xmodal.errors import UserError
from xmodal.towers.lora import own_state
from xmodal.towers.pretrained import Source, build_model, read_tokenizer
from xmodal.towers.sentence_folder import Dense, SentenceSettings, read_dense, write_settings

Pooling = Literal["mean", "cls", "last"]


class TextProcessor:
    """Text -> token ids, cut at `max_length` tokens; batches are padded on the right, whatever the tokenizer's habit.

    Args:
        tokenizer: of the model.
        max_length: tokens, special ones included; None: the model has no limit.
        lower: lower-case the text first.
        pooling: of the backbone; it is part of what `describe` must tell.
    """

    kind: Literal["text"] = "text"
    sample_rate: int | None = None
    log_mel = False

    def __init__(self, tokenizer: Any, max_length: int | None, lower: bool = False, pooling: Pooling = "mean"):
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.lower = lower
        self.pooling = pooling
        found = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.pad = int(next(token for token in found if token is not None))

    def features(self, item: str) -> np.ndarray:
        """Token ids of one text [T] int64; a text without any token counts as one padding token."""
        ids = self.tokenizer(
            item.lower() if self.lower else item,
            truncation=self.max_length is not None,
            max_length=self.max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        return np.asarray(ids or [self.pad], dtype=np.int64)

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"input_ids": [B, T], "attention_mask": [B, T]}`."""
        ids = torch.full((len(features), max(len(x) for x in features)), self.pad)
        mask = torch.zeros_like(ids)
        for row, x in enumerate(features):
            ids[row, : len(x)] = torch.from_numpy(x)
            mask[row, : len(x)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def describe(self) -> dict[str, Any]:
        """Vocabulary (as a hash), length limit, case, pooling."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        return {
            "kind": "text",
            "vocabulary": hashlib.sha256(repr(vocabulary).encode()).hexdigest()[:16],
            "max_length": self.max_length,
            "lower": self.lower,
            "pooling": self.pooling,
        }


class TextBackbone(nn.Module):
    """Pooled last hidden states: mean over the tokens, the first token, or the last one.

    Args:
        model: a `transformers` encoder (or a decoder-only model: use `last`).
        pooling: how.
        dense: modules after the pooling.
        sentence: it came from a sentence-transformers folder, and is saved as one.
    """

    def __init__(self, model: Any, pooling: Pooling, dense: Sequence[Dense] = (), sentence: bool = False):
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.sentence = sentence
        self.dense = nn.ModuleList(dense)
        self.width = dense[-1].linear.out_features if dense else model.config.hidden_size

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`input_ids` and `attention_mask` [B, T], padded on the right -> [B, G]."""
        mask = inputs["attention_mask"]
        hidden = self.model(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
        features = pool(hidden, mask, self.pooling)
        for module in self.dense:
            features = module(features)
        return features


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """hidden [B, T, G] and mask [B, T] (1 for a token, then 0) -> [B, G].

    Example:
        pool(torch.ones(1, 3, 8), torch.tensor([[1, 1, 0]]), "mean").shape  # [1, 8]
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    weights = mask[..., None].float()
    return (hidden.float() * weights).sum(1) / weights.sum(1)  # in float32 whatever the model ran in


def load_text(
    spec: TransformersTower, source: Source, config: Any, settings: SentenceSettings | None
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
    backbone = TextBackbone(model, pooling, dense, sentence=settings is not None)
    return backbone, TextProcessor(tokenizer, max_length, lower, pooling)


def choose_pooling(spec: TransformersTower, settings: SentenceSettings | None) -> Pooling:
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
    spec: TransformersTower, settings: SentenceSettings | None, tokenizer_length: int, limit: int | None
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


def save_text(backbone: Any, processor: TextProcessor, folder: Path) -> None:
    """Write the model and tokenizer; as a sentence-transformers folder if it was one."""
    backbone.model.save_pretrained(folder, state_dict=own_state(backbone.model))
    processor.tokenizer.save_pretrained(folder)
    if isinstance(backbone, TextBackbone) and backbone.sentence:
        write_settings(
            folder, backbone.pooling, processor.max_length, processor.lower, backbone.model.config.hidden_size,
            [module for module in backbone.dense if isinstance(module, Dense)],
        )  # fmt: skip
