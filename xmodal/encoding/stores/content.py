"""What a store is made of: the different items of one side of a manifest, each in all its views.

Input: a run's config and one of its sides. Output: `Content`, ascending by id; what decides the features besides the
tower, for the store's fingerprint. Axes: n items times their views.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmodal.config.data import AudioModality, ImageModality, ModalitySpec, TextModality
from xmodal.config.schema import RunConfig
from xmodal.data.items import Items, column_of
from xmodal.data.manifest import read_pairs, strings
from xmodal.data.reading import ItemReader
from xmodal.data.views.fit import changes_items
from xmodal.data.views.text import read_synonyms
from xmodal.errors import UserError
from xmodal.store import content_id, data_digest, view_id


@dataclass(frozen=True)
class Content:
    """What a manifest says about one modality: its different items, each in all its views, ascending by id."""

    ids: np.ndarray  # [n] int64, of views
    rows: np.ndarray  # [n] int64, into items
    views: np.ndarray  # [n] int64, which view of its item
    items: Items
    names: np.ndarray  # [n] the pair where an item first occurs
    digest: str

    def values(self) -> list[Any]:
        """The items themselves [n], of texts and paths."""
        return [self.items.value(int(at)) for at in self.rows]

    def features(self, position: int, spec: ModalitySpec, reader: ItemReader, views: int) -> np.ndarray:
        """The features of one view of one item; of several views of a recording or a text the first is it as it is.

        Raises:
            AudioError, ImageError: it cannot be read.
        """
        item = self.items.value(int(self.rows[position]))
        as_it_is = views == 1 or (not isinstance(spec, ImageModality) and self.views[position] == 0)
        if as_it_is:
            return reader.features(item)
        changes = spec.waveform if isinstance(spec, AudioModality) else spec.augment
        return reader.view(item, changes, np.random.default_rng(int(self.ids[position]) % 2**63))


def read_content(config: RunConfig, modality: str, views: int) -> Content:
    """The items of `config.data.train`.

    Raises:
        UserError: the manifest cannot be used; one item id with two contents.
    """
    path, spec = config.data.train, config.modality(modality)
    manifest, found = read_pairs(path, {modality: spec}, config.data.made_by)
    items = found[modality]
    # a file goes by its path, as its item id does: hashing the bytes would read the whole corpus
    contents = items.ids
    if f"{modality}_id" in manifest.column_names:
        contents = np.fromiter((content_id(value.as_py()) for value in items.values), np.int64, len(items.values))
    rows = strings(manifest, "id").to_pylist()
    owners = np.zeros(len(items.ids), np.int64)
    for row in range(len(items) - 1, -1, -1):  # the first row that has an item is left standing
        owners[items.of(row)] = row
    kept, first, inverse = np.unique(items.ids, return_index=True, return_inverse=True)
    torn = np.flatnonzero(contents != contents[first][inverse])
    if len(torn):
        one, two = rows[owners[first[inverse[torn[0]]]]], rows[owners[torn[0]]]
        raise UserError(
            f"{path}: rows {one!r} and {two!r} have the same {modality}_id and a different "
            f"{column_of(modality, spec)}; equal ids must name the same item"
        )
    names = np.array([rows[owners[at]] for at in first], dtype=object)
    digest = data_digest(kept, contents[first])
    rows_of_items, numbers = np.repeat(first, views), np.tile(np.arange(views), len(first))
    ids = kept
    if views > 1:
        pairs = zip(items.ids[rows_of_items], numbers, strict=True)
        ids = np.fromiter((view_id(int(item), int(view), views) for item, view in pairs), np.int64, len(rows_of_items))
    order = np.argsort(ids, kind="stable")
    return Content(ids[order], rows_of_items[order], numbers[order], items, np.repeat(names, views)[order], digest)


def describe_reading(spec: ModalitySpec, views: int) -> dict[str, Any]:
    """What of a modality's settings decides the features in a store: limits of length, augmented views.

    Raises:
        UserError: several views of what is not augmented.
    """
    found: dict[str, Any] = {}
    if views > 1:
        if not changes_items(spec):
            raise UserError(
                "towers: views of a store are augmented images, recordings or texts: set "
                "data.modalities.image.augment, data.modalities.speech.waveform or data.modalities.text.augment; or "
                "views: 1"
            )
        part = "waveform" if isinstance(spec, AudioModality) else "augment"
        found |= {"views": views, part: getattr(spec, part).described()}
    if isinstance(spec, TextModality) and views > 1 and spec.augment.synonyms is not None:
        words = sorted(read_synonyms(spec.augment.synonyms).items())  # the file may change under its path
        found["augment"]["synonyms"] = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]
    if isinstance(spec, AudioModality):
        found["seconds"] = [spec.min_seconds, spec.max_seconds]
    return found
