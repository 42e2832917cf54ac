"""A real encoder whose answers are known: an image's embedding is its mean colour, a text's the colours it names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from xmodal.encoding.encoder import Encoder
from xmodal.processor import Processor
from xmodal.towers.heads import Identity, Linear
from xmodal.towers.tower import Tower

RGB = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0), "white": (1, 1, 1)}


class Mix(nn.Module):
    """[B, 3] to [B, 3], at first as they are."""

    width = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return inputs["rgb"] @ self.weight.T


class ColourProcessor(Processor):
    def __init__(self, kind: Literal["image", "text"]) -> None:
        self.kind = kind

    def features(self, item: Any) -> np.ndarray:
        if self.kind == "image":
            return np.asarray(item, dtype=np.float32).mean((0, 1)) / 255 + 1e-3
        named = [(0, 0, 0), *(RGB[word] for word in item.split() if word in RGB)]
        return np.asarray(np.sum(named, axis=0, dtype=np.float32) + np.float32(1e-3))

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        return {"rgb": torch.from_numpy(np.stack(features))}

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}


def colour_encoder(name: str = "colours", seed: int | None = None, **provenance: Any) -> Encoder:
    """Image and text towers; with a seed, the images' has a random head."""
    if seed is not None:
        torch.manual_seed(seed)
    head = Identity(3) if seed is None else Linear(3)
    towers = {"image": Tower(Mix(), head).eval(), "text": Tower(Mix(), Identity(3), locked=True)}
    return Encoder(
        towers, {"image": ColourProcessor("image"), "text": ColourProcessor("text")}, name=name, provenance=provenance
    )


def paint(path: Path, colour: str | tuple[float, ...], noise: float = 0.0, seed: int = 0) -> Path:
    """An 8 x 6 picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.array(RGB[colour] if isinstance(colour, str) else colour, dtype=float)
    rgb = np.clip(rgb + noise * np.random.default_rng(seed).standard_normal(3), 0, 1)
    Image.fromarray(np.broadcast_to((255 * rgb).astype(np.uint8), (6, 8, 3)).copy()).save(path)
    return path
