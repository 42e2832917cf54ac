"""A locked tower over a whole manifest, once. Input: a store's spec and the run. Output: an `EmbeddingStore`.

Any number of processes share the work, each decoding ahead of its model; the store is the same. Items that cannot be
read are left out, up to the data's `max_bad`; pairs that need them are left out of training.

Axes: n items of the manifest (times their views), G features.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xmodal.config.data import AudioModality, ImageModality, ModalitySpec, TextModality
from xmodal.config.schema import RunConfig
from xmodal.data.image import most_pixels
from xmodal.data.manifest import root_of
from xmodal.data.reading import ItemReader, count_cut, lengths_of
from xmodal.data.tally import Tally
from xmodal.data.unusable import Bad, listed, require_usable
from xmodal.data.views.fit import require_mask, rewording_of
from xmodal.distributed import main_first, rank, together, world_size
from xmodal.encoding.embedding import encode_batch, evaluating, items_bar, longest_first
from xmodal.encoding.stores.batches import Batches, read_ahead
from xmodal.encoding.stores.content import Content, describe_reading, read_content
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.store import EmbeddingStore, StoreWriter
from xmodal.threads import choose_threads
from xmodal.towers import build_tower, kind_of, versions_of
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.tower import Tower

log = logging.getLogger(__name__)


def build_store(
    spec: StoreTower.Spec,
    config: RunConfig,
    modality: str,
    *,
    remake: bool = False,
    device: torch.device | None = None,
    key: str | None = None,
) -> EmbeddingStore:
    """Open the store of a tower, or make it: every item of `config.data.train` once, through the live tower.

    Called by every process of a group, each makes its share. A build that was killed goes on where it was; its rows are
    bit for bit those of an uninterrupted one, and of one by another number of processes. A store that was made
    otherwise is refused, or with `remake` made again. `device`: where the tower runs; default: CUDA where there is one.
    `key` is what the spec is called in the config; default: towers.MODALITY.

    Raises:
        UserError: the store does not match the config; the manifest cannot be used; one item id with two contents;
            more items than `data.max_bad` that cannot be read; features that are not finite.

    Example:
        store = build_store(config.towers["text"], config, "text")
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tower, processor = build_tower(spec.tower)
    modality_spec = config.modality(modality)
    _require_fit(spec, tower, processor, modality_spec, modality, key or f"towers.{modality}")
    content = read_content(config, modality, spec.views)
    fingerprint = _fingerprint(spec, modality_spec, tower, processor, content)
    found = main_first(lambda: _matching(spec, fingerprint, remake), device)
    if found is not None:
        return found
    rewording = rewording_of(modality_spec, processor) if spec.views > 1 else None
    root, pixels = root_of(config.data.train), most_pixels(modality_spec)
    reader = ItemReader(processor, root, pixels, rewording=rewording)
    lengths, unusable, cut = _lengths(content, reader, modality_spec, modality)
    batches = Batches(content, longest_first(lengths), modality_spec, reader, spec.views, unusable)
    build = _Build(spec, config, modality, tower, processor, batches, fingerprint, device)
    build.require_usable()
    choose_threads(config.train.threads if isinstance(config.train.threads, int) else None, world_size())
    writer = main_first(lambda: build.writer(claims=rank() == 0), device)
    tower.to(device)
    together(lambda: build.write_share(writer), device)
    return main_first(lambda: build.finish(cut), device)


@dataclass(frozen=True)
class _Build:
    """What all steps of making one store share."""

    spec: StoreTower.Spec
    config: RunConfig
    modality: str
    tower: Tower
    processor: Processor
    batches: Batches
    fingerprint: dict[str, Any]
    device: torch.device

    def writer(self, claims: bool) -> StoreWriter:
        """A hand in the store's folder; one that `claims` it starts over what was begun otherwise."""
        spec, tower = self.spec, self.tower
        width = int(getattr(tower.backbone, "step_width", tower.width)) if spec.holds_sequences else tower.width
        return StoreWriter(
            spec.path, self.batches.content.ids, width, self.fingerprint, self.batches.plan(),
            sequences=spec.holds_sequences, claims=claims,
        )  # fmt: skip

    def write_share(self, writer: StoreWriter) -> None:
        """Read, encode and write this process's batches of those that are not there yet."""
        batches, content = self.batches, self.batches.content
        left = [number for number in range(len(batches)) if number not in writer.done]
        mine = left[rank() :: world_size()]
        title = f"embedding {self.modality} into {self.spec.path}" if rank() == 0 else None
        done = len(content.ids) - sum(len(batches.positions(number)) for number in left)
        with items_bar(title, len(content.ids), done) as bar, evaluating(self.tower), writer:
            reading = read_ahead(batches, mine, self.config.data.workers)
            for number, (positions, features, bad) in zip(mine, reading, strict=True):
                rows = _encode(self.tower, self.processor, features, self.device, self.spec.holds_sequences)
                _require_finite(rows, positions, self.config, content, self.modality)
                writer.write(number, np.array(positions, np.int64), rows, bad)
                self.require_usable(writer.unusable)
                bar.update(len(batches.positions(number)) * world_size())

    def finish(self, cut: list[dict[str, Any]]) -> EmbeddingStore:
        """The whole store: put together by the main process, opened by the others after it."""
        if rank() > 0:
            return EmbeddingStore.open(self.spec.path)
        whole = self.writer(claims=False)
        lost = self.require_usable(whole.unusable)
        if lost:
            many, told = len(self.batches.content.ids), listed(lost)
            log.warning("%s: %d of %d items cannot be used and are left out: %s", self.modality, len(lost), many, told)
        return whole.finish(versions_of([self.spec.tower]), cut)

    def require_usable(self, undecodable: Sequence[tuple[int, str]] = ()) -> list[Bad]:
        """The items that cannot be used; `UserError` where they are more than `data.max_bad`.

        `undecodable`: (position, reason) of those that failed when decoded.
        """
        content, data = self.batches.content, self.config.data
        unusable = self.batches.unusable | dict(undecodable)
        bad: list[Bad] = [(str(content.names[at]), reason) for at, reason in sorted(unusable.items())]
        require_usable(data.train, len(content.ids), bad, data.max_bad, "data.max_bad")
        return bad


def _fingerprint(
    spec: StoreTower.Spec, modality_spec: ModalitySpec, tower: Tower, processor: Processor, content: Content
) -> dict[str, Any]:
    """What decides every number in the store; see `xmodal.store.form.FINGERPRINT`."""
    return {
        "model": kind_of(spec.tower).model_of(spec.tower),
        "revision": getattr(spec.tower, "revision", None),
        "weights": tower.fingerprint(),
        "preprocessing": processor.describe()
        | describe_reading(modality_spec, spec.views)
        | ({"output": "sequence"} if spec.holds_sequences else {}),
        "data": content.digest,
    }


def _encode(
    tower: Tower, processor: Processor, features: list[np.ndarray], device: torch.device, sequences: bool
) -> list[np.ndarray] | np.ndarray:
    """The rows [m, G] of a batch, or the sequences [T, G] float16 each."""
    if not features:
        return []
    if not sequences:
        return encode_batch(tower, processor, features, device, "features").numpy()
    with torch.no_grad():
        inputs = {name: value.to(device) for name, value in processor.collate(features).items()}
        return [steps.half().cpu().numpy() for steps in tower.sequence(inputs).each()]


def _require_finite(
    rows: list[np.ndarray] | np.ndarray, positions: list[int], config: RunConfig, content: Content, modality: str
) -> None:
    bad = next((at for at, row in enumerate(rows) if not np.isfinite(row).all()), None)
    if bad is not None:
        raise UserError(
            f"{config.data.train}: row {content.names[positions[bad]]!r}: the {modality} tower's features are not "
            "finite; check its weights, or (sequences are kept in half precision) choose other layers"
        )


def _require_fit(
    spec: StoreTower.Spec,
    tower: Tower,
    processor: Processor,
    modality_spec: ModalitySpec,
    modality: str,
    key: str,
) -> None:
    if processor.kind != modality_spec.kind:
        raise UserError(
            f"{key}.tower: takes {processor.kind}, but the modality {modality!r} is "
            f"{modality_spec.kind}; choose another tower"
        )
    if isinstance(modality_spec, TextModality) and modality_spec.augment.needs_mask:
        require_mask(modality, processor)
    if spec.holds_sequences and not hasattr(tower.backbone, "sequence"):
        raise UserError(
            f"{key}.head: {spec.head.kind} works over a sequence, and a tower of kind {spec.tower.kind} "
            "gives one vector an item; choose head linear or mlp, or another tower"
        )


def _matching(spec: StoreTower.Spec, expected: dict[str, Any], remake: bool) -> EmbeddingStore | None:
    """The store that is there; none where it is to be made."""
    if not (spec.path / "store.json").is_file():
        return None
    try:
        store = EmbeddingStore.open(spec.path)
        store.check(expected)
    except UserError:
        if not remake:
            raise
        return None
    return store


def _lengths(
    content: Content, reader: ItemReader, spec: ModalitySpec, modality: str
) -> tuple[np.ndarray, dict[int, str], list[dict[str, Any]]]:
    """Length of each item [n]; what audio headers show to be unusable, by position; what the tower cuts."""
    if isinstance(spec, ImageModality):
        return np.zeros(len(content.ids)), {}, []
    values = content.values()
    lengths, bad = lengths_of(spec, values, reader.root)
    tally = Tally()
    count_cut(reader.processor, spec, values, lengths, tally)
    for counted in tally.cut.values() if rank() == 0 else ():
        name, reason = counted.examples[0]
        log.warning("%s: %d of %d items are cut short, as %r: %s", modality, counted.count, len(values), name, reason)
    return lengths, bad if isinstance(spec, AudioModality) else {}, tally.as_dict()["cut"]
