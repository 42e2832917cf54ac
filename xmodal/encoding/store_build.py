"""A locked tower over a whole manifest, once. Input: a store's spec and the run. Output: an `EmbeddingStore`.

Any number of processes share the work, each decoding ahead of its model; the store is the same. Items that cannot be
read are left out, up to the data's `max_bad`; pairs that need them are left out of training.

Axes: n items of the manifest (times their views), G features.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from xmodal.config.data import AudioModality, ImageModality, ModalitySpec
from xmodal.config.schema import RunConfig
from xmodal.data.manifest import root_of
from xmodal.data.reading import UNREADABLE, ItemReader, count_cut, lengths_of
from xmodal.data.tally import Tally
from xmodal.data.unusable import Bad, listed, require_usable
from xmodal.distributed import main_first, rank, together, world_size
from xmodal.encoding.embedding import BATCH_SIZE, encode_batch, evaluating, longest_first, progress_bar
from xmodal.encoding.store_content import Content, describe_reading, read_content
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.store import EmbeddingStore, StoreWriter
from xmodal.threads import choose_threads
from xmodal.towers import build_tower, kind_of, versions_of
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.tower import Tower

log = logging.getLogger(__name__)

Read = tuple[list[int], list[np.ndarray], list[tuple[int, str]]]  # positions read, their features, (position, reason)


def build_store(
    spec: StoreTower.Spec,
    config: RunConfig,
    modality: str,
    *,
    remake: bool = False,
    device: torch.device | None = None,
) -> EmbeddingStore:
    """Open the store of a tower, or make it: every item of `config.data.train` once, through the live tower.

    Called by every process of a group, each makes its share. A build that was killed goes on where it was; its rows are
    bit for bit those of an uninterrupted one, and of one by another number of processes. A store that was made
    otherwise is refused, or with `remake` made again. `device`: where the tower runs; default: CUDA where there is one.

    Raises:
        UserError: the store does not match the config; the manifest cannot be used; one item id with two contents;
            more items than `data.max_bad` that cannot be read; features that are not finite.

    Example:
        store = build_store(config.towers["text"], config, "text")
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tower, processor = build_tower(spec.tower)
    kind = config.modality(modality)
    _require_fit(spec, tower, processor, kind, modality)
    content = read_content(config, modality, spec.views)
    expected = {
        "model": kind_of(spec.tower).model_of(spec.tower),
        "revision": getattr(spec.tower, "revision", None),
        "weights": tower.fingerprint(),
        "preprocessing": processor.describe()
        | describe_reading(kind, spec.views)
        | ({"output": "sequence"} if spec.holds_sequences else {}),
        "data": content.digest,
    }
    found = main_first(lambda: _matching(spec, expected, remake), device)
    if found is not None:
        return found
    reader = ItemReader(processor, root_of(config.data.train), **_pixels(kind))
    lengths, unusable, cut = _lengths(content, reader, kind, modality)
    _require_usable(config, content, unusable)
    order = longest_first(lengths)
    plan = hashlib.sha256(content.ids[order].tobytes() + str(BATCH_SIZE).encode()).hexdigest()
    width = int(getattr(tower.backbone, "step_width", tower.width)) if spec.holds_sequences else tower.width

    def hand(claims: bool) -> StoreWriter:
        return StoreWriter(spec.path, content.ids, width, expected, plan, sequences=spec.holds_sequences, claims=claims)

    choose_threads(config.train.threads if isinstance(config.train.threads, int) else None, world_size())
    writer = main_first(lambda: hand(claims=rank() == 0), device)
    batches = Batches(content, order, kind, reader, spec.views, unusable)
    tower.to(device)

    def share() -> None:
        left = [number for number in range(len(batches)) if number not in writer.done]
        mine = left[rank() :: world_size()]
        title = f"embedding {modality} into {spec.path}" if rank() == 0 else None
        done = len(order) - sum(len(batches.positions(number)) for number in left)
        with progress_bar(title, len(order), done) as bar, evaluating(tower), writer:
            for number, (positions, features, bad) in zip(
                mine, _ahead(batches, mine, config.data.workers), strict=True
            ):
                rows = _encode(tower, processor, features, device, spec.holds_sequences)
                _require_finite(rows, positions, config, content, modality)
                writer.write(number, np.array(positions, np.int64), rows, bad)
                _require_usable(config, content, unusable | dict(writer.unusable))
                bar.update(len(batches.positions(number)) * world_size())

    together(share, device)

    def finish() -> EmbeddingStore:
        if rank() > 0:
            return EmbeddingStore.open(spec.path)
        whole = hand(claims=False)
        lost = _require_usable(config, content, unusable | dict(whole.unusable))
        if lost:
            told = listed(lost)
            log.warning("%s: %d of %d items cannot be used and are left out: %s", modality, len(lost), len(order), told)
        return whole.finish(versions_of([spec.tower]), cut)

    return main_first(finish, device)


@dataclass(frozen=True)
class Batches(Dataset[Read]):
    """The batches of a build by number: items of like length, the longest first, whatever the number of processes."""

    content: Content
    order: np.ndarray  # [n] int64
    spec: ModalitySpec
    reader: ItemReader
    views: int
    unusable: dict[int, str]  # position -> why its header shows that it cannot be used

    def __len__(self) -> int:
        return -(-len(self.order) // BATCH_SIZE)

    def positions(self, number: int) -> np.ndarray:
        """What is in one of them."""
        return self.order[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]

    def __getitem__(self, number: int) -> Read:
        read: Read = [], [], []
        for position in map(int, self.positions(number)):
            if position in self.unusable:
                continue
            try:
                read[1].append(self.content.features(position, self.spec, self.reader, self.views))
                read[0].append(position)
            except UNREADABLE as error:
                read[2].append((position, str(error)))
        return read


def _ahead(batches: Batches, numbers: Sequence[int], workers: int) -> Iterator[Read]:
    """Those batches, read by `workers` processes while the model is at work; 0: read when their turn comes."""
    loader = DataLoader(
        batches, sampler=list(numbers), batch_size=None, num_workers=workers, collate_fn=_as_it_is,
        generator=torch.Generator(),  # drawing from the global one would change the run that follows
    )  # fmt: skip
    return iter(loader)


def _as_it_is(read: Any) -> Any:
    return read


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


def _require_fit(spec: StoreTower.Spec, tower: Tower, processor: Processor, kind: ModalitySpec, modality: str) -> None:
    if processor.kind != kind.kind:
        raise UserError(
            f"towers.{modality}.tower: takes {processor.kind}, but the modality {modality!r} is "
            f"{kind.kind}; choose another tower"
        )
    if spec.holds_sequences and not hasattr(tower.backbone, "sequence"):
        raise UserError(
            f"towers.{modality}.head: {spec.head.kind} works over a sequence, and a tower of kind {spec.tower.kind} "
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


def _require_usable(config: RunConfig, content: Content, unusable: dict[int, str]) -> list[Bad]:
    """The items that cannot be used; `UserError` where there are too many."""
    bad: list[Bad] = [(str(content.names[at]), reason) for at, reason in sorted(unusable.items())]
    require_usable(config.data.train, len(content.ids), bad, config.data.max_bad, "data.max_bad")
    return bad


def _pixels(spec: ModalitySpec) -> dict[str, int]:
    return {"max_pixels": spec.max_pixels} if isinstance(spec, ImageModality) else {}


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
