"""Run a tower over many items: `embed` for a list of them, `build_store` for a whole manifest, once and for all.

Enters: a tower with its processor, and texts or audio. Leaves: a matrix in the order of the items, or an
`EmbeddingStore`. Axes: n items, B items of a batch, G features, D embedding.
"""

import contextlib
import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from xmodal.config.schema import RunConfig
from xmodal.config.towers import StoreTower, TransformersTower
from xmodal.data.audio import AudioError, audio_seconds, read_audio, scan_headers
from xmodal.data.manifest import item_ids, read_manifest, strings
from xmodal.errors import UserError
from xmodal.store import EmbeddingStore, StoreWriter, content_id, data_digest
from xmodal.towers import build_tower
from xmodal.towers.tower import Processor, Tower

Item = str | Path | np.ndarray

BATCH_SIZE = 64


def embed(
    tower: Tower,
    processor: Processor,
    items: Sequence[Item],
    *,
    batch_size: int = BATCH_SIZE,
    device: torch.device | str | None = None,
    what: Literal["features", "z"] = "features",
    progress: str | None = None,
) -> Tensor:
    """Encode items in evaluation mode, without gradient.

    Args:
        tower: runs on `device`, where its parameters already are (default: wherever that is).
        processor: the tower's own.
        items: [n] texts; or audio, all paths or all waveforms [T] float32 at the processor's sample rate.
        batch_size: items at a time; items of similar length share a batch, so little is spent on padding.
        device: where the batches go.
        what: `features` [n, G], the backbone's pooled features as they come; `z` [n, D], unit norm.
        progress: the progress bar's title; none, no bar. It shows up after two seconds.

    Returns:
        [n, G] or [n, D], float32, on the CPU, in the order of the items.

    Raises:
        AudioError: a path that cannot be read as audio.

    Example:
        tower, processor = build_tower(spec)
        z = embed(tower, processor, ["turn on the lights", "play some music"], what="z")
    """
    device = next((p.device for p in tower.parameters()), torch.device("cpu")) if device is None else device
    encoded = torch.empty(len(items), tower.width if what == "features" else tower.dim)
    order = _longest_first([_length(item, processor.kind) for item in items])
    with _bar(progress, len(items)) as bar, _evaluating(tower):
        for start in range(0, len(items), batch_size):
            positions = order[start : start + batch_size]
            encoded[positions] = _encode(tower, processor, [items[i] for i in positions], device, what)
            bar.update(len(positions))
    return encoded


@dataclass(frozen=True)
class _Content:
    """What a manifest says about one modality: its n different items, ascending by item id."""

    ids: np.ndarray  # [n] int64
    items: list[str] | list[Path]  # [n]
    names: list[str]  # [n] the pair where an item first occurs
    digest: str


def build_store(spec: StoreTower, config: RunConfig, modality: str, *, remake: bool = False) -> EmbeddingStore:
    """Open the store of a tower, or make it: every item of `config.data.train` once, through the live tower.

    A build that was killed goes on where it was; its rows are bit for bit those of an uninterrupted one. A store that
    was made otherwise is refused, or with `remake` made again.

    Raises:
        UserError: the store does not match the config; the manifest cannot be used; one item id with two contents;
            audio that cannot be read; features that are not finite.

    Example:
        store = build_store(config.towers["text"], config, "text")
    """
    tower, processor = build_tower(spec.tower)
    if processor.kind != config.modality(modality).kind:
        raise UserError(
            f"towers.{modality}.tower: takes {processor.kind}, but the modality {modality!r} is "
            f"{config.modality(modality).kind}; choose another tower"
        )
    content = _read_content(config, modality)
    expected = {
        "model": _model(spec),
        "revision": spec.tower.revision if isinstance(spec.tower, TransformersTower) else None,
        "weights": tower.fingerprint(),
        "preprocessing": processor.describe(),
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
    order = _longest_first(_lengths(content, config.data.train))
    plan = hashlib.sha256(content.ids[order].tobytes() + str(BATCH_SIZE).encode()).hexdigest()
    writer = StoreWriter(spec.path, content.ids, tower.width, expected, plan)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tower.to(device)
    done = min(writer.done * BATCH_SIZE, len(order))
    with _bar(f"embedding {modality} into {spec.path}", len(order), done) as bar, _evaluating(tower), writer:
        for start in range(done, len(order), BATCH_SIZE):
            positions = order[start : start + BATCH_SIZE]
            try:
                rows = _encode(tower, processor, [content.items[i] for i in positions], device, "features").numpy()
            except AudioError as error:
                raise UserError(f"{config.data.train}: {modality}: {error}; mend or remove it") from error
            bad = ~np.isfinite(rows).all(axis=1)
            if bad.any():
                name = content.names[positions[bad][0]]
                raise UserError(f"{config.data.train}: row {name!r}: the {modality} tower's features are not finite")
            writer.write(positions, rows)
            bar.update(len(positions))
    return writer.finish({name: importlib.metadata.version(name) for name in ("torch", "transformers", "xmodal")})


def _read_content(config: RunConfig, modality: str) -> _Content:
    path = config.data.train
    column = config.modality(modality).column or modality
    manifest = read_manifest(path, [column], config.data.made_by)
    ids, values = item_ids(manifest, modality, column), strings(manifest, column).to_pylist()
    # audio goes by its path, as its item id does: hashing the bytes would read the whole corpus
    contents = np.fromiter(map(content_id, values), np.int64, len(values))
    names = strings(manifest, "id").to_pylist()
    kept, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    torn = np.flatnonzero(contents != contents[first][inverse])
    if len(torn):
        one, two = names[first[inverse[torn[0]]]], names[torn[0]]
        raise UserError(
            f"{path}: rows {one!r} and {two!r} have the same {modality}_id and a different {column}; "
            "equal ids must name the same item"
        )
    is_audio = config.modality(modality).kind == "audio"
    items = [path.parent / values[i] if is_audio else values[i] for i in first]
    return _Content(kept, items, [names[i] for i in first], data_digest(kept, contents[first]))


def _lengths(content: _Content, manifest: Path) -> list[float]:
    """Length of each item; audio headers are read once, and all that cannot be used are reported together."""
    paths = [item for item in content.items if isinstance(item, Path)]
    if not paths:
        return [len(text) for text in content.items if isinstance(text, str)]
    lengths = scan_headers(paths)
    bad = [found for found in lengths if isinstance(found, AudioError)]
    if bad:
        shown = "; ".join(sorted(map(str, bad))[:3]) + ("; ..." if len(bad) > 3 else "")
        raise UserError(
            f"{manifest}: {len(bad)} of {len(paths)} files cannot be used: {shown}; mend them, or remove their rows"
        )
    return [found for found in lengths if not isinstance(found, AudioError)]


def _length(item: Item, kind: str) -> float:
    """How long an item is beside others like it: characters, samples, or seconds."""
    if isinstance(item, np.ndarray):
        return len(item)
    return audio_seconds(item) if kind == "audio" else len(str(item))


def _longest_first(lengths: Sequence[float]) -> np.ndarray:
    """Positions [n], so that a batch that does not fit in memory fails at once; ties keep their order."""
    return np.argsort(-np.asarray(lengths, dtype=np.float64), kind="stable")


@torch.no_grad()
def _encode(tower: Tower, processor: Processor, items: Sequence[Item], device: torch.device | str, what: str) -> Tensor:
    """One batch, [B, G] or [B, D] float32 on the CPU."""
    features = []
    for item in items:
        if processor.kind == "audio" and isinstance(item, str | Path):
            assert processor.sample_rate is not None
            item = read_audio(item, processor.sample_rate)
        features.append(processor.features(item))
    inputs = {name: value.to(device) for name, value in processor.collate(features).items()}
    return (tower.features(inputs) if what == "features" else tower(inputs).z).float().cpu()


@contextlib.contextmanager
def _evaluating(tower: Tower) -> Iterator[None]:
    """Evaluation mode; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in tower.modules()]
    tower.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _bar(title: str | None, total: int, done: int = 0) -> "tqdm[Any]":
    return tqdm(total=total, initial=done, desc=title, unit="items", delay=2, disable=title is None)


def _model(spec: StoreTower) -> str | dict[str, Any]:
    """The model's name; for an encoder of our own, its whole spec."""
    if isinstance(spec.tower, TransformersTower):
        return spec.tower.name
    return spec.tower.model_dump(mode="json", exclude={"mode", "head"})
