"""An encoder whose every answer is known: images are their mean colour, texts the colour they name."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from xmodal import processor
from xmodal.encoding.encoder import Encoder
from xmodal.towers.heads import Identity, Linear
from xmodal.towers.tower import Tower

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


class Sum(nn.Module):
    """The input as it is; it counts what goes through."""

    width = 3

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, inputs):
        self.seen += len(inputs["x"])
        return inputs["x"]


class Processor(processor.Processor):
    sample_rate, log_mel = None, False
    size, interpolation = (1, 1), "bilinear"

    def __init__(self, kind):
        self.kind = kind

    def features(self, item):
        if self.kind == "image":
            return np.asarray(item, dtype=np.float32).reshape(-1, 3).mean(0)
        named = [COLOURS[word.strip(".")] for word in item.split() if word.strip(".") in COLOURS]
        return np.mean(named or [(1, 1, 1)], axis=0).astype(np.float32)

    def collate(self, features):
        return {"x": torch.from_numpy(np.stack(features))}

    def describe(self):
        return {"kind": self.kind}


def colour_encoder(dtype=torch.float32):
    head = Linear(3)  # the identity, with parameters
    with torch.no_grad():
        head.weight.copy_(torch.eye(3))
        head.bias.zero_()
    towers = {"image": Tower(Sum(), head, locked=True), "text": Tower(Sum(), Identity(3), locked=True)}
    return Encoder(towers, {name: Processor(name) for name in towers}, name="colours", dtype=dtype)


def save_image(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), colour).save(path)
