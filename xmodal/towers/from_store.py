"""A tower read from an `EmbeddingStore`: the features of a locked tower, computed once, in place of the tower.

Input: item ids. Output: the store's rows, which the tower's head and normalisation treat like live features. Axes: B
items, G features.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor, nn

from xmodal.config.spec import Count
from xmodal.config.tower import AnyTower, TowerSpec, Whereabouts
from xmodal.processor import Processor
from xmodal.store import EmbeddingStore
from xmodal.towers.kind import TowerKind


class StoreBackbone(nn.Module):
    """The identity over `inputs["rows"]` [B, G]; it has no parameters."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`inputs["rows"]` as they are [B, G]."""
        return inputs["rows"]


class StoreProcessor(Processor):
    """Looks item ids up in the store, a whole batch at a time."""

    kind: Literal["item_id"] = "item_id"

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


class StoreTower(TowerKind):
    """The embeddings of a locked tower, computed once (`xmodal embed-frozen`) and read from `path`."""

    class Spec(TowerSpec):
        """`tower` says which tower they must come from; a store made otherwise is refused.

        A store that does not exist is made when training starts. The live tower still encodes new items (prompts) at
        evaluation time.
        """

        path: Annotated[Path, Whereabouts()]
        tower: AnyTower
        views: Count = 1  # augmented views of each image; 1: the image as it is

        @model_validator(mode="after")
        def _locked(self) -> Self:
            if self.tower.is_stored:
                raise ValueError("tower.kind is store: name the tower whose features the store holds")
            mode = getattr(self.tower, "mode", "locked")
            if mode != "locked":
                raise ValueError(f"tower.mode is {mode!r}: only a locked tower can be read from a store")
            if not self.tower.is_locked:
                raise ValueError(
                    "tower.lora: its updates train, so its features do not stay; take lora out, or the store"
                )
            if self.tower.head.kind != "identity":
                raise ValueError("tower.head must be identity: put the head beside `tower`, not inside it")
            return self

        @property
        def is_locked(self) -> bool:
            """Rows on disk do not change."""
            return True

        @property
        def views_stored(self) -> int:
            """Augmented views of each item in the store."""
            return self.views

        @property
        def live(self) -> TowerSpec:
            """The tower whose features the store holds."""
            return self.tower

    def load(self, spec: Spec) -> tuple[StoreBackbone, StoreProcessor]:
        """Open the store at `spec.path`.

        Raises:
            UserError: no store there, or not a readable one (see `EmbeddingStore.open`).
        """
        store = EmbeddingStore.open(spec.path)
        return StoreBackbone(store.width), StoreProcessor(store, spec.views)
