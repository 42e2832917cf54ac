"""A tower of texts: the counts of their letters under one linear map."""

import numpy as np
import torch
from torch import nn

from xmodal.config.spec import Count
from xmodal.processor import Processor
from xmodal.towers import OwnTower


class CountLetters(Processor):
    """Text to the counts of a to z."""

    kind = "text"

    def features(self, item):
        """[26] float32."""
        return np.array([item.lower().count(chr(97 + i)) for i in range(26)], dtype=np.float32)

    def collate(self, features):
        """[B, 26]."""
        return {"counts": torch.from_numpy(np.stack(list(features)))}

    def describe(self):
        """Nothing to set."""
        return {"kind": "letters"}


class Backbone(nn.Linear):
    """[B, 26] -> [B, width]."""

    def __init__(self, width):
        super().__init__(26, width)
        self.width = width

    def forward(self, inputs):
        """Tanh of a linear map."""
        return super().forward(inputs["counts"]).tanh()


class Letters(OwnTower):
    """kind: letters."""

    packages = ("xmodal-extra",)

    class Spec(OwnTower.Spec):
        """Its one setting."""

        width: Count = 16

    def make(self, spec):
        """Backbone and processor."""
        return Backbone(spec.width), CountLetters()
