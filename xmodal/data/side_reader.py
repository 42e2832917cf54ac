"""One side of the pairs: which item a row gives in an epoch, and the features of its views.

Input: the side's items, its spec and its tower's processor. Output: features of one item in one or several views,
padded batches of them. Features are cached as long as there is room: with shuffled epochs, evicting would gain nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from xmodal.config.data import AudioModality, ModalitySpec, TextModality
from xmodal.data.image import most_pixels
from xmodal.data.items import Items
from xmodal.data.reading import ItemReader, augmented, count_cut, empty_batch, lengths_of, rate_of
from xmodal.data.tally import Counted, Tally
from xmodal.data.views import log_mel
from xmodal.data.views.fit import holds_sequences, is_augmented, masks_steps, stored_views
from xmodal.data.views.text import Rewording
from xmodal.data.views.waveform import voice
from xmodal.data.views.windows import cut, seen_lengths
from xmodal.processor import Processor
from xmodal.store import EmbeddingStore, view_id

ENTRY_BYTES = 200  # what a cached array costs besides its numbers
Key = tuple[int, int, str]  # side, item, what is kept of it


class FeatureCache:
    """Arrays by key, until `megabytes` are full."""

    def __init__(self, megabytes: int) -> None:
        self._arrays: dict[Key, np.ndarray] = {}
        self._room = megabytes * 2**20

    def get(self, key: Key, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array; one that is not there is made, and kept where there is room."""
        found = self._arrays.get(key)
        if found is not None:
            return found
        array = make()
        if self._room >= array.nbytes + ENTRY_BYTES:
            self._room -= array.nbytes + ENTRY_BYTES
            self._arrays[key] = array
        return array


@dataclass(frozen=True)
class SideReader:
    """A side of a data set. `root` is the folder paths start from, `number` counts the sides in the order of names.

    `rewording` words the texts of a live tower anew (`rewording_of`).
    """

    name: str
    number: int
    spec: ModalitySpec
    processor: Processor
    items: Items
    root: Path
    cache: FeatureCache
    rewording: Rewording | None

    @cached_property
    def reader(self) -> ItemReader:
        """What reads an item."""
        return ItemReader(self.processor, self.root, most_pixels(self.spec), rewording=self.rewording)

    @property
    def training_views(self) -> int:
        """Views of each item in training."""
        return self.spec.training_views

    @property
    def is_live(self) -> bool:
        """Are the items themselves read, rather than their ids alone?"""
        return self.processor.kind != "item_id"

    @property
    def stored_views(self) -> int:
        """Views of each item in the store that stands in for the tower."""
        return stored_views(self.processor)

    @property
    def stores_sequences(self) -> bool:
        """Does a store of sequences stand in for the tower?"""
        return holds_sequences(self.processor)

    @cached_property
    def is_random(self) -> bool:
        """Does an item, or its view, change from epoch to epoch?"""
        if bool((self.items.count > 1).any()):
            return True
        if self.is_live:
            return is_augmented(self.spec)
        return self.stored_views > 1 or masks_steps(self.spec, self.processor)

    def scan(self, tally: Tally) -> tuple[np.ndarray, dict[int, str]]:
        """Lengths [n] (seconds of audio, or of the window that training sees, characters of text, steps of stored
        sequences; of a row's first item), and unusable rows with the reason.

        What the tower cuts short is counted in `tally`. Audio headers are read once. Images are not looked at: whole
        corpora of them have no lengths worth knowing.
        """
        if isinstance(self.spec, AudioModality) and self.is_live:
            firsts = [self.items.value(int(item)) for item in self.items.first]
            lengths, reasons = lengths_of(self.spec, firsts, self.root)
            lengths = self.seen_lengths(lengths, tally)
            count_cut(self.processor, self.spec, firsts, lengths, tally)
            return lengths, reasons
        lengths, reasons = np.zeros(len(self.items)), {}
        if isinstance(self.spec, TextModality):  # also where a store stands in: the batches must be the same
            lengths, reasons = self._scan_texts(tally)
        store = getattr(self.processor, "store", None)
        if store is not None:
            lengths, missing = self._scan_store(store, lengths, tally)
            reasons = missing | reasons
        return lengths, reasons

    def seen_lengths(self, lengths: np.ndarray, tally: Tally) -> np.ndarray:
        """Seconds of one view of recordings of `lengths` [n] seconds (0: unusable); what is too short is counted."""
        if not isinstance(self.spec, AudioModality) or self.spec.windows is None:
            return lengths
        views, spec = self.training_views, self.spec.windows
        seen, short = seen_lengths(lengths, spec, rate_of(self.processor), views)
        whole = int((short & (lengths > 0)).sum())
        if whole:
            tally.notes.append(
                f"{self.name}: {whole:,} of {int((lengths > 0).sum()):,} recordings are shorter than the "
                f"{spec.span(views):g} s of {views} windows: each of their views is the whole recording"
            )
        return seen

    def _scan_texts(self, tally: Tally) -> tuple[np.ndarray, dict[int, str]]:
        """Characters of each row's first text [n], zeros where a store stands in; rows with an empty text."""
        texts = self.items.values.to_pylist()
        found, bad = lengths_of(self.spec, texts)
        count_cut(self.processor, self.spec, texts, found, tally)
        alone = self.items.without_others()
        if alone:
            tally.notes.append(f"{self.name}: {alone:,} of {len(self.items):,} rows have no other wording")
        reasons = dict[int, str]()
        for row in range(len(self.items)) if bad else ():
            at = self.items.of(row)
            if not bad.keys().isdisjoint(range(at.start, at.stop)):
                reasons[row] = f"{self.name}: empty text"
        return found[self.items.first] if self.is_live else np.zeros(len(self.items)), reasons

    def _scan_store(
        self, store: EmbeddingStore, lengths: np.ndarray, tally: Tally
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Steps of each row's first item [n], where they are stored, else `lengths`; rows with an item that is not."""
        for each in store.info.get("cut", ()):  # told when the store was made, from all of its items
            tally.cut[each["reason"]] = Counted(each["count"], [(name, why) for name, why in each["examples"]])
        names = np.array([view_id(int(item), 0, self.stored_views) for item in self.items.ids])
        known = store.contains(names)
        if self.stores_sequences and not isinstance(self.spec, TextModality):
            lengths = store.lengths(names[self.items.first]).astype(np.float64)  # in steps: for buckets alone
        told = f"{self.name}: not in the store, it could not be read when that was made"
        return lengths, dict.fromkeys(self.items.rows_lacking(known), told)

    def read(self, row: int, rngs: Sequence[np.random.Generator | None]) -> tuple[int, list[np.ndarray]]:
        """(item id of the first view, features of each view) of a row.

        Args:
            row: of the items.
            rngs: one for each view, which draws and augments; None: the row's first item as it is.

        Of a row with several texts each view draws its own, and of a store with several views of each item too: no
        two the same while there are enough. Windows of a recording follow each other.

        Raises:
            AudioError, ImageError: the item cannot be read.
        """
        first, many = int(self.items.first[row]), int(self.items.count[row])
        drawn = [first + at for at in _draw(many, rngs)]
        if not self.is_live:
            features = self._stored(drawn, rngs)
        elif isinstance(self.spec, AudioModality) and self.spec.windows is not None and rngs[0] is not None:
            waves = cut(self._decoded(first), self.spec.windows, rate_of(self.processor), rngs)
            features = [self._heard(wave, rng) for wave, rng in zip(waves, rngs, strict=True) if rng is not None]
        else:
            features = [self._view(row, at, rng) for at, rng in zip(drawn, rngs, strict=True)]
        return int(self.items.ids[drawn[0]]), features

    def _stored(self, drawn: Sequence[int], rngs: Sequence[np.random.Generator | None]) -> list[np.ndarray]:
        """Views of the items `drawn` out of the store."""
        stored = zip(drawn, _draw(self.stored_views, rngs), strict=True)
        names = [view_id(int(self.items.ids[at]), view, self.stored_views) for at, view in stored]
        features = [self.processor.features(name) for name in names]
        if not masks_steps(self.spec, self.processor):
            return features
        assert isinstance(self.spec, AudioModality)
        spec = self.spec.augment
        return [
            steps if rng is None else log_mel.augment(steps, spec, rng)
            for steps, rng in zip(features, rngs, strict=True)
        ]

    def _view(self, row: int, at: int, rng: np.random.Generator | None) -> np.ndarray:
        if rng is None or not is_augmented(self.spec):
            return self.plain(at)
        if isinstance(self.spec, TextModality):
            return self.reader.reworded(str(self.items.value(at)), rng, self.items.others_of(row))
        if isinstance(self.spec, AudioModality) and self.spec.waveform.is_active:
            return self._heard(self._decoded(at), rng)
        return augmented(
            self.processor,
            self.spec.augment,
            rng,
            lambda: Image.fromarray(self._decoded(at)),
            lambda: self.plain(at),
        )

    def _heard(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An augmented view of a recording, or of a window of it [T]."""
        assert isinstance(self.spec, AudioModality)
        voiced = voice(wave, self.spec.waveform, rate_of(self.processor), rng)
        return log_mel.augment(self.processor.features(voiced), self.spec.augment, rng)

    def plain(self, at: int) -> np.ndarray:
        """An item's features without augmentation; of a store of several views the first. Raises as `read` does."""
        if not self.is_live:
            return self.processor.features(view_id(int(self.items.ids[at]), 0, self.stored_views))
        return self.cache.get((self.number, at, "features"), lambda: self.reader.features(self.items.value(at)))

    def _decoded(self, at: int) -> np.ndarray:
        """A whole recording [T], or a whole image [H, W, 3]."""
        return self.cache.get((self.number, at, "item"), lambda: np.asarray(self.reader.decode(self.items.value(at))))

    def collate(self, features: list[np.ndarray]) -> dict[str, Tensor]:
        """A padded batch; of no features an empty one of the right shapes."""
        if features:
            return self.processor.collate(features)
        return empty_batch(self.processor, 0 if self.is_live else view_id(int(self.items.ids[0]), 0, self.stored_views))


def _draw(many: int, rngs: Sequence[np.random.Generator | None]) -> list[int]:
    """One of `many` for each generator, all different while there are enough; None draws the first."""
    drawn, left = [], list(range(many))
    for rng in rngs:
        left = left or list(range(many))
        drawn.append(0 if rng is None or many == 1 else left.pop(int(rng.integers(len(left)))))
    return drawn
