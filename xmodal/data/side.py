"""One modality of the pairs: which item a row gives in an epoch, its features, its view.

Enters: the modality's items, its spec and its tower's processor. Leaves: features of one item, padded batches of them.
Features are kept in memory as long as there is room: with shuffled epochs, evicting would gain nothing.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from PIL import Image
from torch import Tensor

from xmodal.config.data import AudioModality, ImageModality, ModalitySpec, TextModality
from xmodal.data import image_views
from xmodal.data.audio import AudioError, read_audio, scan_headers
from xmodal.data.image import ImageError, read_image
from xmodal.data.items import Items
from xmodal.data.views import augment, is_active
from xmodal.errors import UserError
from xmodal.store import view_id

ENTRY_BYTES = 200  # what a cached array costs besides its numbers
UNREADABLE = (AudioError, ImageError)


class ItemProcessor(Protocol):
    """What this layer needs of a tower's processor: one item to features, features to a padded batch.

    A processor of images also has what `image_views.ImageProcessor` says; one of stores, `views`.
    """

    @property
    def kind(self) -> str:
        """What an item is: `text` (a string), `audio` (waveform [T] float32), `image` (RGB), `item_id` (an integer)."""

    @property
    def sample_rate(self) -> int | None:
        """Hz, for audio."""

    @property
    def log_mel(self) -> bool:
        """Are the features log-mel [T, F], to which `SpeechAugment` applies?"""

    def features(self, item: Any) -> np.ndarray:
        """One item's features, without padding, always the same."""

    def collate(self, features: list[np.ndarray]) -> dict[str, Tensor]:
        """A padded batch of features; padding never changes an embedding."""


class FeatureCache:
    """Arrays by key, until `megabytes` are full."""

    def __init__(self, megabytes: int) -> None:
        self._arrays: dict[tuple[int, int], np.ndarray] = {}
        self._room = megabytes * 2**20

    def get(self, key: tuple[int, int]) -> np.ndarray | None:
        """The array, or None."""
        return self._arrays.get(key)

    def add(self, key: tuple[int, int], array: np.ndarray) -> np.ndarray:
        """Keep the array where there is room; returns it."""
        if self._room >= array.nbytes + ENTRY_BYTES:
            self._room -= array.nbytes + ENTRY_BYTES
            self._arrays[key] = array
        return array


@dataclass(frozen=True)
class Side:
    """A modality of a data set. `root` is the folder paths start from, `number` its place among the modalities.

    Raises:
        UserError: (from `check_fit`) a processor that does not fit, augmentation it does not take.
    """

    name: str
    number: int
    spec: ModalitySpec
    processor: ItemProcessor
    items: Items
    root: Path
    cache: FeatureCache

    @property
    def is_live(self) -> bool:
        """Are the items themselves read, rather than their ids alone?"""
        return self.processor.kind != "item_id"

    @property
    def is_augmented(self) -> bool:
        """Does training see changed views of the items?"""
        spec = self.spec
        if isinstance(spec, AudioModality):
            return is_active(spec.augment)
        return isinstance(spec, ImageModality) and image_views.is_active(spec.augment)

    @property
    def views(self) -> int:
        """Views of each item in the store that stands in for the tower."""
        return int(getattr(self.processor, "views", 1))

    @cached_property
    def is_random(self) -> bool:
        """Does an item, or its view, change from epoch to epoch?"""
        return self.is_augmented or self.views > 1 or bool((self.items.count > 1).any())

    def scan(self) -> tuple[np.ndarray, dict[int, str]]:
        """Lengths [n] (seconds of audio, characters of text; of a row's first item), and unusable rows with the reason.

        Audio headers are read once. Images are not looked at: whole corpora of them have no lengths worth knowing.
        """
        lengths = np.zeros(len(self.items))
        reasons: dict[int, str] = {}
        firsts = [int(place) for place in self.items.first]
        if isinstance(self.spec, TextModality):  # also where a store stands in: the batches must be the same
            texts = self.items.values.to_pylist()
            empty = {place for place, text in enumerate(texts) if not text.strip()}
            for row in range(len(self.items)) if empty else ():
                at = self.items.of(row)
                if empty.intersection(range(at.start, at.stop)):
                    reasons[row] = f"{self.name}: empty text"
            if self.is_live:
                lengths += [len(texts[place]) for place in firsts]
        store = getattr(self.processor, "store", None)
        if store is not None:
            known = store.contains(np.array([view_id(int(item), 0, self.views) for item in self.items.ids]))
            for row in range(len(self.items)) if not known.all() else ():
                if not known[self.items.of(row)].all():
                    reasons.setdefault(row, f"{self.name}: not in the store, it could not be read when that was made")
        if isinstance(self.spec, AudioModality) and self.is_live:
            paths = [self.root / str(self.items.value(place)) for place in firsts]
            for row, found in enumerate(scan_headers(paths)):
                if isinstance(found, AudioError):
                    reasons[row] = str(found)
                elif not self.spec.min_seconds <= found <= self.spec.max_seconds:
                    limits = f"{self.spec.min_seconds:g} to {self.spec.max_seconds:g} s"
                    reasons[row] = f"{paths[row]}: {found:.2f} s, expected {limits}"
                else:
                    lengths[row] = found
        return lengths, reasons

    def view(self, row: int, rng: np.random.Generator | None) -> tuple[int, np.ndarray]:
        """(item id, features) of one of a row's items; with `rng` drawn and augmented, else the first as it is.

        Raises:
            AudioError, ImageError: the item cannot be read.
        """
        place = self.items.draw(row, rng)
        item = int(self.items.ids[place])
        if not self.is_live:
            view = 0 if rng is None or self.views == 1 else int(rng.integers(self.views))
            return item, self.processor.features(view_id(item, view, self.views))
        if rng is None or not self.is_augmented:
            return item, self._features(place)
        if isinstance(self.spec, ImageModality):
            processor = cast(image_views.ImageProcessor, self.processor)
            return item, image_views.augment_image(
                lambda: self._image(place), lambda: self._features(place), processor, self.spec.augment, rng
            )
        assert isinstance(self.spec, AudioModality)
        return item, augment(self._features(place), self.spec.augment, rng)

    def _features(self, place: int) -> np.ndarray:
        """An item's features without augmentation."""
        cached = self.cache.get((self.number, place))
        if cached is not None:
            return cached
        item: Any = self.items.value(place)
        if isinstance(self.spec, AudioModality):
            item = read_audio(self.root / item, rate_of(self.processor))
        elif isinstance(self.spec, ImageModality):
            item = read_image(item, self.root, self.spec.max_pixels)
        return self.cache.add((self.number, place), self.processor.features(item))

    def _image(self, place: int) -> Image.Image:
        """The whole image, from the cache where it was decoded before."""
        assert isinstance(self.spec, ImageModality)
        cached = self.cache.get((self.number, place))
        if cached is None:
            image = read_image(self.items.value(place), self.root, self.spec.max_pixels)
            cached = self.cache.add((self.number, place), np.asarray(image))
        return Image.fromarray(cached)

    def collate(self, features: list[np.ndarray]) -> dict[str, Tensor]:
        """A padded batch; of no features an empty one of the right shapes."""
        if features:
            return self.processor.collate(features)
        # Every item was bad: a stand-in gives the tensors their shapes, then it is cut away. The other processes'
        # collectives must still find this process there.
        item: Any = "a"
        if not self.is_live:
            item = view_id(int(self.items.ids[0]), 0, self.views)
        elif isinstance(self.spec, AudioModality):
            item = np.random.default_rng(0).standard_normal(rate_of(self.processor)).astype(np.float32)
        elif isinstance(self.spec, ImageModality):
            item = Image.new("RGB", (64, 64))
        return {name: x[:0] for name, x in self.processor.collate([self.processor.features(item)]).items()}


def check_fit(name: str, spec: ModalitySpec, processor: ItemProcessor) -> None:
    """Raise `UserError` where a tower's processor does not take what the modality is."""
    if processor.kind not in ("item_id", spec.kind):
        raise UserError(
            f"towers.{name}: this tower takes {processor.kind}, but the modality {name!r} is {spec.kind}; "
            f"choose another tower, or set data.modalities.{name}.kind={processor.kind}"
        )
    if isinstance(spec, AudioModality) and is_active(spec.augment) and not processor.log_mel:
        raise UserError(
            f"data.modalities.{name}.augment: works on log-mel features, which this tower does not take; "
            "leave it out, or use a tower of kind speech_encoder"
        )


def rate_of(processor: ItemProcessor) -> int:
    """The sample rate of a processor of audio, Hz."""
    if processor.sample_rate is None:
        raise ValueError("a processor of kind audio must have a sample rate")
    return processor.sample_rate
