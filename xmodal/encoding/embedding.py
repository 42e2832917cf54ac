"""Run a tower over many items. Input: a tower with its processor; texts, audio or images. Output: a matrix.

Axes: n items, B items of a batch, G features, D embedding.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xmodal.data.audio import audio_seconds
from xmodal.data.reading import ItemReader
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.progress import progress_bar
from xmodal.towers.tower import Tower


@dataclass(frozen=True)
class Features:
    """An item that is features already."""

    array: np.ndarray


Item = str | Path | bytes | np.ndarray | Image.Image | Features
Made = TypeVar("Made")

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
        items: [n] texts; or audio, all paths or all waveforms [T] at the processor's sample rate; or images, as paths,
            files' bytes or Pillow images in RGB.
        batch_size: items at a time; items of similar length share a batch, so little is spent on padding.
        device: where the batches go.
        what: `features` [n, G], the backbone's pooled features as they come; `z` [n, D], unit norm.
        progress: the progress bar's title; none, no bar. It shows up after two seconds.

    Returns:
        [n, G] or [n, D], float32, on the CPU, in the order of the items.

    Raises:
        AudioError, ImageError: what cannot be read.

    Example:
        tower, processor = build_tower(spec)
        z = embed(tower, processor, ["turn on the lights", "play some music"], what="z")
    """
    device = next((p.device for p in tower.parameters()), torch.device("cpu")) if device is None else device
    encoded = torch.empty(len(items), tower.width if what == "features" else tower.dim)
    for positions, features in read_batches(tower, processor, items, batch_size, progress):
        encoded[positions] = encode_batch(tower, processor, features, device, what)
    return encoded


def read_batches(
    tower: Tower, processor: Processor, items: Sequence[Item], batch_size: int, progress: str | None = None
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """(positions [B], features of each) of batches of like length, the longest first; meanwhile the tower evaluates.

    Raises:
        AudioError, ImageError: what cannot be read.
    """
    reader = ItemReader(processor, sample_rate=processor.sample_rate)
    order = longest_first([_length(item, processor.kind) for item in items])
    with items_bar(progress, len(items)) as bar, evaluating(tower):
        for start in range(0, len(items), batch_size):
            positions = order[start : start + batch_size]
            batch = [items[i] for i in positions]
            yield positions, [item.array if isinstance(item, Features) else reader.features(item) for item in batch]
            bar.update(len(positions))


def _length(item: Item, kind: str) -> float:
    """How long an item is beside others like it: characters, samples, or seconds; all images are alike."""
    if kind == "image":
        return 0
    if isinstance(item, np.ndarray):
        return len(item)
    return audio_seconds(str(item)) if kind == "audio" else len(str(item))


def longest_first(lengths: Sequence[float] | np.ndarray) -> np.ndarray:
    """Positions [n], so that a batch that does not fit in memory fails at once; ties keep their order."""
    return np.argsort(-np.asarray(lengths, dtype=np.float64), kind="stable")


@torch.no_grad()
def encode_batch(
    tower: Tower, processor: Processor, features: list[np.ndarray], device: torch.device | str, what: str
) -> Tensor:
    """One batch of an item's features each, [B, G] ("features") or [B, D] ("z"), float32 on the CPU."""
    inputs = {name: value.to(device) for name, value in processor.collate(features).items()}
    return (tower.features(inputs) if what == "features" else tower(inputs).z).float().cpu()


def within_memory(size: int, run: Callable[[int], Made]) -> tuple[Made, int]:
    """(what `run` gives with so many items at a time, their number), halved as often as memory runs out."""
    while True:
        try:
            return run(size), size
        except RuntimeError as error:
            # on a GPU, or (where torch has no class for it) on the CPU
            if size == 1 or not (isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)):
                raise
            size //= 2


def require_finite(z: Tensor, model: str, modality: str, dtype: torch.dtype) -> None:
    """Raise `UserError` where embeddings [n, D] of a model's modality are not finite."""
    bad = int((~torch.isfinite(z).all(dim=1)).sum())
    if bad:
        raise UserError(
            f"{model}: {bad} of {len(z)} {modality} embeddings are NaN or infinite: damaged weights, or numbers "
            f"beyond {dtype}'s range; check the weights, or run in fp32"
        )


@contextlib.contextmanager
def evaluating(tower: Tower) -> Iterator[None]:
    """Evaluation mode; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in tower.modules()]
    tower.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def items_bar(title: str | None, total: int, done: int = 0) -> Any:
    """A progress bar of items; none for what is over within two seconds, or without a title."""
    return progress_bar(total=total, initial=done, desc=title, unit="items", delay=2, disable=title is None)
