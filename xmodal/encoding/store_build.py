"""A locked tower over a whole manifest, once. Input: a store's spec and the run. Output: an `EmbeddingStore`.

Items that cannot be read are left out, up to the data's `max_bad`; pairs that need them are left out of training.

Axes: n items of the manifest (times their views), G features.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xmodal.config.data import AudioModality, ImageModality, ModalitySpec
from xmodal.config.schema import RunConfig
from xmodal.data.items import Items, column_of
from xmodal.data.manifest import read_pairs, root_of, strings
from xmodal.data.reading import UNREADABLE, ItemReader, count_cut, is_augmented, lengths_of
from xmodal.data.tally import Tally
from xmodal.data.unusable import Bad, require_usable
from xmodal.encoding.embedding import BATCH_SIZE, encode_batch, evaluating, longest_first, progress_bar
from xmodal.errors import UserError
from xmodal.store import EmbeddingStore, StoreWriter, content_id, data_digest, view_id
from xmodal.towers import build_tower, kind_of, versions_of
from xmodal.towers.from_store import StoreTower

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Content:
    """What a manifest says about one modality: its different items, each in all its views, ascending by id."""

    ids: np.ndarray  # [n] int64, of views
    rows: np.ndarray  # [n] int64, into items
    items: Items
    names: np.ndarray  # [n] the pair where an item first occurs
    digest: str

    def values(self) -> list[Any]:
        """The items themselves [n], of texts and paths."""
        return [self.items.value(int(at)) for at in self.rows]


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
        "model": kind_of(spec.tower).model_of(spec.tower),
        "revision": getattr(spec.tower, "revision", None),
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
    reader = ItemReader(processor, root_of(path), **_pixels(kind))
    lengths, unusable, cut = _lengths(content, reader, kind, modality)
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
                    features.append(_features(content, int(position), kind, reader, spec.views))
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
    return writer.finish(versions_of([spec.tower]), cut)


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
    rows_of_items, numbers = np.repeat(first, views), np.tile(np.arange(views), len(first))
    ids = kept
    if views > 1:
        pairs = zip(items.ids[rows_of_items], numbers, strict=True)
        ids = np.fromiter((view_id(int(item), int(view), views) for item, view in pairs), np.int64, len(rows_of_items))
    order = np.argsort(ids, kind="stable")
    return _Content(ids[order], rows_of_items[order], items, np.repeat(names, views)[order], digest)


def _features(content: _Content, position: int, spec: ModalitySpec, reader: ItemReader, views: int) -> np.ndarray:
    """The features of one view of one item."""
    item = content.items.value(int(content.rows[position]))
    if views == 1 or not isinstance(spec, ImageModality):
        return reader.features(item)
    return reader.view(item, spec.augment, np.random.default_rng(int(content.ids[position]) % 2**63))


def _pixels(spec: ModalitySpec) -> dict[str, int]:
    return {"max_pixels": spec.max_pixels} if isinstance(spec, ImageModality) else {}


def _describe_views(spec: ModalitySpec, views: int) -> dict[str, Any]:
    if views == 1:
        return {}
    if not isinstance(spec, ImageModality) or not is_augmented(spec):
        raise UserError("towers: views of a store are augmented images: set data.modalities.image.augment, or views: 1")
    return {"views": views, "augment": spec.augment.model_dump(mode="json")}


def _describe_lengths(spec: ModalitySpec) -> dict[str, Any]:
    limits = (spec.min_seconds, spec.max_seconds) if isinstance(spec, AudioModality) else None
    return {} if limits is None else {"seconds": list(limits)}


def _lengths(
    content: _Content, reader: ItemReader, spec: ModalitySpec, modality: str
) -> tuple[np.ndarray, dict[int, str], list[dict[str, Any]]]:
    """Length of each item [n]; what audio headers show to be unusable, by position; what the tower cuts."""
    if isinstance(spec, ImageModality):
        return np.zeros(len(content.ids)), {}, []
    values = content.values()
    lengths, bad = lengths_of(spec, values, reader.root)
    tally = Tally()
    count_cut(reader.processor, spec, values, lengths, tally)
    for counted in tally.cut.values():
        name, reason = counted.examples[0]
        log.warning("%s: %d of %d items are cut short, as %r: %s", modality, counted.count, len(values), name, reason)
    return lengths, bad if isinstance(spec, AudioModality) else {}, tally.as_dict()["cut"]
