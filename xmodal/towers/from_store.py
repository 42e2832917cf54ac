"""A tower read from an `EmbeddingStore`: the features of a locked tower, computed once, in place of the tower.

Enters: item ids. Leaves: the store's rows, which the tower's head and normalisation treat like live features. Axes:
B items, G features.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from xmodal.config.towers import StoreTower
from xmodal.store import EmbeddingStore


class StoreBackbone(nn.Module):
    """The identity over `inputs["rows"]` [B, G]; it has no parameters."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`inputs["rows"]` as they are [B, G]."""
        return inputs["rows"]


class StoreProcessor:
    """Looks item ids up in the store, a whole batch at a time."""

    kind: Literal["item_id"] = "item_id"
    sample_rate: int | None = None
    log_mel = False

    def __init__(self, store: EmbeddingStore, views: int = 1):
        self.store = store
        self.views = views  # of each item, as the store names them (`view_id`)

    def features(self, item: int) -> np.ndarray:
        """The item id itself, as an array."""
        return np.asarray(item, dtype=np.int64)

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Item ids -> `{"rows": [B, G] float32}`.

        Raises:
            UserError: an id the store does not hold.
        """
        return {"rows": torch.from_numpy(self.store.rows(np.asarray(features, dtype=np.int64)))}

    def describe(self) -> dict[str, Any]:
        """The preprocessing the rows were made with."""
        return dict(self.store.info["preprocessing"])


def load(spec: StoreTower) -> tuple[StoreBackbone, StoreProcessor]:
    """Open the store at `spec.path`.

    Raises:
        UserError: no store there, or not a readable one (see `EmbeddingStore.open`).
    """
    store = EmbeddingStore.open(spec.path)
    return StoreBackbone(store.width), StoreProcessor(store, spec.views)
