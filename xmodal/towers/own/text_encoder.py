"""xmodal's own text encoder, for training both sides from scratch: bytes in, so there is no tokenizer to look after.

Input: texts, through the `ByteText` processor. Output: pooled features [B, G]. Axes: B texts, T bytes, G width.
"""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from xmodal.config.spec import Count, Share
from xmodal.config.tower import AnyHead
from xmodal.processor import Processor
from xmodal.towers.frames import Frames, valid_steps
from xmodal.towers.heads import Linear
from xmodal.towers.kind import OwnTower
from xmodal.towers.own.transformer import AttentionPooling, Block, sinusoids
from xmodal.towers.text_length import cut_of

START, END, VOCABULARY = 256, 257, 258  # beside the 256 bytes; padding is hidden by the lengths and needs no token


class ByteText(Processor):
    """Text -> its UTF-8 bytes between a start and an end token; what is longer than `max_length` tokens loses its end.

    Args:
        spec: of the tower, or
        settings: those of the spec that matter here, by name.

    Example:
        ByteText().features("on")  # [256, 111, 110, 257]
    """

    kind: Literal["text"] = "text"

    def __init__(self, spec: "TextEncoderTower.Spec | None" = None, **settings: Any):
        self.max_length = TextEncoderTower.Spec.given(spec, settings).max_length

    def features(self, item: str) -> np.ndarray:
        """Tokens of one text [T] int64."""
        found = item.encode("utf-8", "replace")[: self.max_length - 2]
        return np.array([START, *found, END], dtype=np.int64)

    def cut(self, item: str) -> str | None:
        """A text of more bytes than `max_length` has room for."""
        return cut_of(len(item.encode("utf-8", "replace")), self.max_length - 2, "bytes")

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"tokens": [B, T], "lengths": [B]}`."""
        lengths = [len(x) for x in features]
        tokens = torch.zeros(len(features), max(lengths), dtype=torch.int64)
        for row, x in zip(tokens, features, strict=True):
            row[: len(x)] = torch.from_numpy(x)
        return {"tokens": tokens, "lengths": torch.tensor(lengths)}

    def describe(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"kind": "bytes", "max_length": self.max_length}


class TextEncoder(nn.Module):
    """Byte embeddings, sinusoidal positions, pre-norm transformer, attention pooling. Padding changes nothing.

    Dropout is on the input and on the two branches of each layer.

    Args:
        spec: of the tower, or
        settings: those of the spec that matter here, by name.

    Example:
        processor = ByteText()
        TextEncoder()(processor.collate([processor.features("turn on the light")])).shape  # [1, 192]
    """

    def __init__(self, spec: "TextEncoderTower.Spec | None" = None, **settings: Any):
        super().__init__()
        spec = TextEncoderTower.Spec.given(spec, settings)
        width = self.width = spec.width
        self.embed = nn.Embedding(VOCABULARY, width)
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(
            Block(width, spec.heads, spec.feed_forward, spec.dropout) for _ in range(spec.layers)
        )
        self.leave = nn.LayerNorm(width)
        self.pool = AttentionPooling(width, spec.heads)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`tokens` [B, T] and `lengths` [B] -> [B, G]."""
        frames = self.sequence(inputs)
        return self.pool(frames.values, frames.mask()[:, None, None])

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`tokens` [B, T] and `lengths` [B] -> what is pooled, a step for each token."""
        tokens = inputs["tokens"]
        x = self.dropout(self.embed(tokens) + sinusoids(tokens.shape[1], self.width, tokens.device))
        mask = valid_steps(inputs["lengths"], tokens.shape[1])[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return Frames(self.leave(x), inputs["lengths"])

    def pooling_modules(self) -> list[nn.Module]:
        """What a head over the sequence leaves unused."""
        return [self.pool]


class TextEncoderTower(OwnTower):
    """xmodal's own text encoder: UTF-8 bytes, transformer blocks, attention pooling."""

    class Spec(OwnTower.Spec):
        """Settings of `ByteText` and `TextEncoder`."""

        max_length: int = Field(128, ge=3)  # bytes of a text, with its start and end; the rest is cut off, and counted
        width: Count = 192
        layers: Count = 4
        heads: Count = 4
        feed_forward: Count = 768
        dropout: Share = 0.1
        head: AnyHead = Linear.Spec()

        @model_validator(mode="after")
        def _consistent(self) -> Self:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
            return self

    def make(self, spec: Spec) -> tuple[TextEncoder, ByteText]:
        """Backbone with random weights, and processor."""
        return TextEncoder(spec), ByteText(spec)
