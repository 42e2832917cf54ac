"""A frozen tower over a whole manifest, once and for all. Enters: a store's spec and the run. Leaves: `EmbeddingStore`.

Items that cannot be read are left out, up to the data's `max_bad`; pairs that need them are left out of training.

Axes: n items of the manifest (times their views), G features.
"""

import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from xmodal.config.data import AudioModality, ImageModality, ModalitySpec
from xmodal.config.schema import RunConfig
from xmodal.data.audio import AudioError, scan_headers
from xmodal.data.image import read_image
from xmodal.data.image_views import augment_image, is_active
from xmodal.data.items import Items, column_of
from xmodal.data.manifest import read_pairs, root_of, strings
from xmodal.data.reading import UNREADABLE
from xmodal.data.unusable import Bad, require_usable
from xmodal.encoding.embedding import BATCH_SIZE, encode_batch, evaluating, features_of, longest_first, progress_bar
from xmodal.errors import UserError
from xmodal.processor import ImageProcessor, Processor
from xmodal.store import EmbeddingStore, StoreWriter, content_id, data_digest, view_id
from xmodal.towers import build_tower
from xmodal.towers.from_store import StoreTower
from xmodal.towers.from_transformers import TransformersTower


@dataclass(frozen=True)
class _Content:
    """What a manifest says about one modality: its different items, each in all its views, ascending by id."""

    ids: np.ndarray  # [n] int64, of views
    places: np.ndarray  # [n] int64, into items
    views: np.ndarray  # [n] int64, the number of the view
    items: Items
    names: np.ndarray  # [n] the pair where an item first occurs
    digest: str


def build_store(spec: StoreTower.Spec, config: RunConfig, modality: str, *, remake: bool = False) -> EmbeddingStore:
    """Open the store of a tower, or make it: every item of `config.data.train` once, through the live tower.

    A build that was killed goes on where it was; its rows are bit for bit those of an uninterrupted one. A store that
    was made otherwise is refused, or with `remake` made again.

    Raises:
        UserError: the store does not match the config; the manifest cannot be used; one item id with two contents;
            more items than `data.max_bad` that cannot be read; features that are not finite.

    Example:
        store = build_store(config.towers["text"], config, "text")
    """
    tower, processor = build_tower(spec.tower)
    kind = config.modality(modality)
    if processor.kind != kind.kind:
        raise UserError(
            f"towers.{modality}.tower: takes {processor.kind}, but the modality {modality!r} is "
            f"{kind.kind}; choose another tower"
        )
    path = config.data.train
    content = _read_content(config, modality, spec.views)
    expected = {
        "model": _model(spec),
        "revision": spec.tower.revision if isinstance(spec.tower, TransformersTower.Spec) else None,
        "weights": tower.fingerprint(),
        "preprocessing": processor.describe() | _describe_views(kind, spec.views) | _describe_lengths(kind),
        "data": content.digest,
    }
    if (spec.path / "store.json").is_file():
        try:
            store = EmbeddingStore.open(spec.path)
            store.check(expected)
            return store
        except UserError:
            if not remake:
                raise
    root = root_of(path)
    lengths, unusable = _lengths(content, kind, root)
    _require_usable(config, content, unusable)
    order = longest_first(lengths)
    plan = hashlib.sha256(content.ids[order].tobytes() + str(BATCH_SIZE).encode()).hexdigest()
    writer = StoreWriter(spec.path, content.ids, tower.width, expected, plan)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tower.to(device)
    done = min(writer.done * BATCH_SIZE, len(order))
    title = f"embedding {modality} into {spec.path}"
    with progress_bar(title, len(order), done) as bar, evaluating(tower), writer:
        for start in range(done, len(order), BATCH_SIZE):
            positions = order[start : start + BATCH_SIZE]
            rows = np.full((len(positions), tower.width), np.nan, np.float32)  # NaN: could not be read
            read, features = [], []
            for at, position in enumerate(positions):
                if int(position) in unusable:
                    continue
                try:
                    features.append(_features(content, int(position), kind, processor, root, spec.views))
                    read.append(at)
                except UNREADABLE as error:
                    unusable[int(position)] = str(error)
            if read:
                rows[read] = encode_batch(tower, processor, features, device, "features").numpy()
            bad = [at for at in read if not np.isfinite(rows[at]).all()]
            if bad:
                name = content.names[positions[bad[0]]]
                raise UserError(f"{path}: row {name!r}: the {modality} tower's features are not finite")
            _require_usable(config, content, unusable)
            writer.write(positions, rows)
            bar.update(len(positions))
    return writer.finish({name: importlib.metadata.version(name) for name in ("torch", "transformers", "xmodal")})


def _require_usable(config: RunConfig, content: _Content, unusable: dict[int, str]) -> None:
    bad: list[Bad] = [(str(content.names[at]), reason) for at, reason in sorted(unusable.items())]
    require_usable(config.data.train, len(content.ids), bad, config.data.max_bad, "data.max_bad")


def _read_content(config: RunConfig, modality: str, views: int) -> _Content:
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
    places, numbers = np.repeat(first, views), np.tile(np.arange(views), len(first))
    ids = kept
    if views > 1:
        pairs = zip(items.ids[places], numbers, strict=True)
        ids = np.fromiter((view_id(int(item), int(view), views) for item, view in pairs), np.int64, len(places))
    order = np.argsort(ids, kind="stable")
    return _Content(ids[order], places[order], numbers[order], items, np.repeat(names, views)[order], digest)


def _features(
    content: _Content, position: int, spec: ModalitySpec, processor: Processor, root: Path, views: int
) -> np.ndarray:
    """The features of one view of one item."""
    item: Any = content.items.value(int(content.places[position]))
    if not isinstance(spec, ImageModality):
        return features_of(processor, root / item if isinstance(spec, AudioModality) else item)
    image = read_image(item, root, spec.max_pixels)
    if views == 1:
        return processor.features(image)
    rng = np.random.default_rng(int(content.ids[position]) % 2**63)
    return augment_image(
        lambda: image, lambda: processor.features(image), cast(ImageProcessor, processor), spec.augment, rng
    )


def _describe_views(spec: ModalitySpec, views: int) -> dict[str, Any]:
    if views == 1:
        return {}
    if not isinstance(spec, ImageModality) or not is_active(spec.augment):
        raise UserError("towers: views of a store are augmented images: set data.modalities.image.augment, or views: 1")
    return {"views": views, "augment": spec.augment.model_dump(mode="json")}


def _describe_lengths(spec: ModalitySpec) -> dict[str, Any]:
    limits = (spec.min_seconds, spec.max_seconds) if isinstance(spec, AudioModality) else None
    return {} if limits is None else {"seconds": list(limits)}


def _lengths(content: _Content, spec: ModalitySpec, root: Path) -> tuple[list[float], dict[int, str]]:
    """Length of each item, and what headers show to be unusable, by position; images have neither."""
    if isinstance(spec, ImageModality):
        return [0.0] * len(content.ids), {}
    values = [str(content.items.value(int(place))) for place in content.places]
    if not isinstance(spec, AudioModality):
        return [float(len(text)) for text in values], {}
    found = scan_headers([root / value for value in values])
    bad = {at: str(x) for at, x in enumerate(found) if isinstance(x, AudioError)}
    bad |= {
        at: f"{values[at]}: {x:.2f} s, expected {spec.min_seconds:g} to {spec.max_seconds:g} s"
        for at, x in enumerate(found)
        if not isinstance(x, AudioError) and not spec.min_seconds <= x <= spec.max_seconds
    }
    return [0.0 if isinstance(x, AudioError) else x for x in found], bad


def _model(spec: StoreTower.Spec) -> str | dict[str, Any]:
    """The model's name; for other kinds the whole spec but its mode and head."""
    if isinstance(spec.tower, TransformersTower.Spec):
        return spec.tower.name
    return spec.tower.model_dump(mode="json", exclude={"mode", "head"})
