"""A tower read from an `EmbeddingStore`: the features of a locked tower, computed once, in place of the tower.

Input: item ids. Output: the store's rows or sequences, which the tower's head and normalisation treat like live
features. Axes: B items, T steps, G features.
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
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.store import EmbeddingStore
from xmodal.towers.frames import Frames, padded
from xmodal.towers.kind import TowerKind


class StoreBackbone(nn.Module):
    """The identity over what the store holds; it has no parameters."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`inputs["rows"]` as they are [B, G]."""
        return inputs["rows"]

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`inputs["frames"]` [B, T, G] and `inputs["lengths"]` [B] as they are."""
        return Frames(inputs["frames"], inputs["lengths"])


class StoreProcessor(Processor):
    """Looks item ids up in the store, a whole batch at a time."""

    kind: Literal["item_id"] = "item_id"

    def __init__(self, store: EmbeddingStore, views: int = 1):
        self.store = store
        self.views = views  # of each item, as the store names them (`view_id`)

    @property
    def sequences(self) -> bool:
        """Does the store hold sequences?"""
        return self.store.sequences

    def features(self, item: int) -> np.ndarray:
        """The item id itself, as an array; of a store of sequences, its steps [T, G] float16.

        Raises:
            UserError: an id that a store of sequences does not hold.
        """
        return self.store.frames(item) if self.sequences else np.asarray(item, dtype=np.int64)

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Item ids -> `{"rows": [B, G] float32}`; sequences -> `{"frames": [B, T, G] float32, "lengths": [B]}`.

        Raises:
            UserError: an id the store does not hold.
        """
        if self.sequences:
            frames = padded(features)
            return {"frames": frames.values, "lengths": frames.lengths}
        return {"rows": torch.from_numpy(self.store.rows(np.asarray(features, dtype=np.int64)))}

    def describe(self) -> dict[str, Any]:
        """The preprocessing the rows were made with."""
        return dict(self.store.info["preprocessing"])


class StoreTower(TowerKind):
    """The embeddings of a locked tower, computed once (`xmodal embed-frozen`) and read from `path`."""

    class Spec(TowerSpec):
        """`tower` says which tower they must come from; a store made otherwise is refused.

        With a head over sequences (`attention`, `transformer`) the store holds what the tower's backbone gives before
        it pools: frames of audio, patches, tokens.

        A store that does not exist is made when training starts. The live tower still encodes new items (prompts) at
        evaluation time.
        """

        path: Annotated[Path, Whereabouts()]
        tower: AnyTower
        views: Count = 1  # augmented views of each image or recording; 1: the item as it is

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
        def holds_sequences(self) -> bool:
            """Does the store hold sequences, rather than vectors?"""
            return self.head.over_sequence

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
            UserError: no store there, or not a readable one (see `EmbeddingStore.open`); vectors where the head
                needs sequences, or sequences where it needs vectors.
        """
        store = EmbeddingStore.open(spec.path)
        if store.sequences != spec.holds_sequences:
            found, needed = ("sequences", "vectors") if store.sequences else ("vectors", "sequences")
            raise UserError(
                f"{spec.path}: a store of {found}, and head {spec.head.kind!r} needs {needed}; run xmodal embed-frozen "
                "again, or choose another head"
            )
        return StoreBackbone(store.width), StoreProcessor(store, spec.views)
