"""xmodal's own text encoder, for training both sides from scratch: bytes in, so there is no tokenizer to look after.

Enters: texts, through the `ByteText` processor. Leaves: pooled features [B, G]. Axes: B texts, T bytes, G width.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from xmodal.config.towers import TextEncoderTower
from xmodal.towers.transformer import AttentionPooling, Block, sinusoids, valid_steps
from xmodal.towers.weights import take_weights

START, END, VOCABULARY = 256, 257, 258  # beside the 256 bytes; padding is hidden by the lengths and needs no token


class ByteText:
    """Text -> its UTF-8 bytes between a start and an end token; what is longer than `max_length` tokens loses its end.

    Args:
        max_length: tokens.

    Example:
        ByteText().features("on")  # [256, 111, 110, 257]
    """

    kind: Literal["text"] = "text"
    sample_rate: int | None = None
    log_mel = False

    def __init__(self, max_length: int = 128):
        self.max_length = max_length

    def features(self, item: str) -> np.ndarray:
        """Tokens of one text [T] int64."""
        found = item.encode("utf-8", "replace")[: self.max_length - 2]
        return np.array([START, *found, END], dtype=np.int64)

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

    Args:
        width: G.
        layers, heads, feed_forward: of the transformer; `heads` also of the pooling.
        dropout: share; on the input and on the two branches of each layer.

    Example:
        processor = ByteText()
        TextEncoder()(processor.collate([processor.features("turn on the light")])).shape  # [1, 192]
    """

    def __init__(
        self, width: int = 192, layers: int = 4, heads: int = 4, feed_forward: int = 768, dropout: float = 0.1
    ):
        super().__init__()
        self.width = width
        self.embed = nn.Embedding(VOCABULARY, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, feed_forward, dropout) for _ in range(layers))
        self.leave = nn.LayerNorm(width)
        self.pool = AttentionPooling(width, heads)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`tokens` [B, T] and `lengths` [B] -> [B, G]."""
        tokens = inputs["tokens"]
        x = self.dropout(self.embed(tokens) + sinusoids(tokens.shape[1], self.width, tokens.device))
        mask = valid_steps(inputs["lengths"], tokens.shape[1])[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return self.pool(self.leave(x), mask)


def load(spec: TextEncoderTower) -> tuple[TextEncoder, ByteText]:
    """Backbone and processor of a spec; modes locked and unlocked take their weights over from `spec.weights`.

    Raises:
        UserError: no such weights (see `take_weights`).
    """
    backbone = TextEncoder(spec.width, spec.layers, spec.heads, spec.feed_forward, spec.dropout)
    if spec.weights is not None:
        take_weights(backbone, spec.weights)
    return backbone, ByteText(spec.max_length)
