"""Processors whose features say what item they were made of."""

import numpy as np
import torch

from xmodal.processor import Processor
from xmodal.store import content_id

RATE = 8_000


class Waves(Processor):
    """Audio as it is."""

    kind, sample_rate = "audio", RATE

    def features(self, item):
        assert item.dtype == np.float32
        return item

    def collate(self, features):
        width = max(map(len, features))
        return {"waves": torch.stack([torch.from_numpy(np.pad(x, (0, width - len(x)))) for x in features])}


class Pixels(Processor):
    """Images of 4 x 4 as they are."""

    kind, size, interpolation = "image", (4, 4), "bilinear"

    def features(self, item):
        assert item.mode == "RGB"
        return np.ascontiguousarray(np.asarray(item).transpose(2, 0, 1))

    def collate(self, features):
        return {"pixels": torch.from_numpy(np.stack(features))}


class Names(Processor):
    """Texts by the id of their content."""

    kind = "text"

    def features(self, item):
        return np.array([content_id(item)])

    def collate(self, features):
        return {"ids": torch.from_numpy(np.stack(features))}


class Stored(Processor):
    """A store's rows, the ids themselves."""

    kind = "item_id"

    def __init__(self, views=1):
        self.views = views

    def features(self, item):
        return np.array([item])

    def collate(self, features):
        return {"rows": torch.from_numpy(np.stack(features))}
