"""Texts as `transformers` models take them: token ids, and what is cut off. Axes: B texts, T tokens."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from xmodal.processor import Processor
from xmodal.towers.text_length import cut_of, surely_fits

Pooling = Literal["mean", "cls", "last"]


class TextProcessor(Processor):
    """Text -> token ids, cut at `max_length` tokens; batches are padded on the right, whatever the tokenizer's habit.

    Args:
        tokenizer: of the model.
        max_length: tokens, special ones included; None: the model has no limit.
        lower: lower-case the text first.
        pooling: of the backbone; it is part of what `describe` must tell.
        prompt: put before every text, as the model was trained with it.
        pools_prompt: do the prompt's own tokens count in the pooling?
    """

    kind: Literal["text"] = "text"

    def __init__(
        self,
        tokenizer: Any,
        max_length: int | None,
        lower: bool = False,
        pooling: Pooling = "mean",
        prompt: str = "",
        pools_prompt: bool = True,
    ):
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.lower = lower
        self.pooling = pooling
        self.prompt = prompt
        self.pools_prompt = pools_prompt
        found = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.pad = int(next(token for token in found if token is not None))
        mask = getattr(tokenizer, "mask_token", None)
        self.mask_token = (
            mask if mask is not None and self._text(mask).endswith(mask) else None
        )  # in lower case it is none

    def features(self, item: str) -> np.ndarray:
        """Token ids of one text [T] int64; a text without any token counts as one padding token."""
        ids = self._tokens(self._text(item), self.max_length)
        return np.asarray(ids or [self.pad], dtype=np.int64)

    def cut(self, item: str) -> str | None:
        """A text of more tokens than `max_length`."""
        text = self._text(item)
        if self.max_length is None or surely_fits(text, self.max_length):
            return None
        return cut_of(len(self._tokens(text, None)), self.max_length)

    def _text(self, item: str) -> str:
        text = self.prompt + item
        return text.lower() if self.lower else text

    def _tokens(self, text: str, max_length: int | None) -> list[int]:
        found: list[int] = self.tokenizer(
            text,
            truncation=max_length is not None,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # else it warns of a long text, which `cut` is there to tell
        )["input_ids"]
        return found

    @property
    def prompt_tokens(self) -> int:
        """Tokens at the start of every text that the pooling leaves out."""
        if self.pools_prompt or not self.prompt:
            return 0
        ids = self._tokens(self._text(""), self.max_length)
        return len(ids) - (ids[-1] in self.tokenizer.all_special_ids)  # the token that ends a text comes after it

    def save(self, folder: Path) -> None:
        """Write the tokenizer."""
        self.tokenizer.save_pretrained(folder)

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"input_ids": [B, T], "attention_mask": [B, T]}`."""
        ids = torch.full((len(features), max(len(x) for x in features)), self.pad)
        mask = torch.zeros_like(ids)
        for row, x in enumerate(features):
            ids[row, : len(x)] = torch.from_numpy(x)
            mask[row, : len(x)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def describe(self) -> dict[str, Any]:
        """Vocabulary (as a hash), length limit, case, pooling; the prompt where there is one."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        prompt = {"prompt": self.prompt, "pools_prompt": self.pools_prompt} if self.prompt else {}
        return prompt | {
            "kind": "text",
            "vocabulary": hashlib.sha256(repr(vocabulary).encode()).hexdigest()[:16],
            "max_length": self.max_length,
            "lower": self.lower,
            "pooling": self.pooling,
        }


class FixedTextProcessor(TextProcessor):
    """Text -> token ids, always `max_length` of them: SigLIP reads its padding, and takes no mask."""

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"input_ids": [B, max_length]}`."""
        assert self.max_length is not None
        ids = torch.full((len(features), self.max_length), self.pad)
        for row, x in zip(ids, features, strict=True):
            row[: len(x)] = torch.from_numpy(x)
        return {"input_ids": ids}

    def describe(self) -> dict[str, Any]:
        """As a text processor, and that the length is fixed."""
        return super().describe() | {"padding": "max_length"}
