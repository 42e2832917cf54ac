"""A trained run, or any dual encoder, behind one method: `encode(modality, items)`.

Enters: texts, audio, images. Leaves: unit-norm embeddings, float32, on the CPU. Everything an evaluator
knows of a model goes through here.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from xmodal.data.audio import as_waveform, read_audio
from xmodal.data.image import MOST_PIXELS, ImageError, read_image, upright
from xmodal.data.reading import UNREADABLE
from xmodal.encoding.embedding import BATCH_SIZE, Features, embed
from xmodal.encoding.kept import Embedded, KeptEmbeddings
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.store import content_id
from xmodal.towers.from_store import StoreProcessor
from xmodal.towers.tower import Tower

Item = str | Path | bytes | np.ndarray | Tensor | Image.Image

DECODED = 512  # recordings held in memory at a time; each chunk is sorted by length
DECODERS = os.cpu_count() or 1  # threads that decode images: Pillow leaves Python to the others meanwhile
GPU_BATCH = 256
WHEREABOUTS = ("mode", "name", "path", "pretrained", "revision", "weights")  # in a tower's spec: the weights tell


class Encoder:
    """Towers of a run, ready to encode.

    Args:
        towers: modality -> tower; a modality trained from a store has its live tower here.
        processors: modality -> what prepares its items.
        stores: modality -> processor of the store its tower was trained from; texts found there are not encoded again.
        name: how reports call it.
        provenance: what a report records of it.
        dtype: what the towers run in (autocast); embeddings are float32 in any case.
        max_pixels: modality -> largest image that is decoded.
        trained_labels: of the pairs it was trained on, where they had labels.

    Example:
        encoder = xmodal.load("runs/demo")
        z = encoder.encode("text", ["turn on the lights"])  # [1, D]
    """

    def __init__(
        self,
        towers: Mapping[str, Tower],
        processors: Mapping[str, Processor],
        stores: Mapping[str, StoreProcessor] | None = None,
        name: str = "",
        provenance: dict[str, Any] | None = None,
        dtype: torch.dtype = torch.float32,
        max_pixels: Mapping[str, int] | None = None,
        trained_labels: Collection[str] = (),
    ) -> None:
        self.dtype = dtype
        self.kept: KeptEmbeddings | None = None  # where embeddings of files stay for the next evaluation
        self.towers = dict(towers)
        self.processors = dict(processors)
        self.stores = dict(stores or {})
        self.name = name
        self.provenance = dict(provenance or {})
        self.max_pixels = dict(max_pixels or {})
        self.trained_labels = frozenset(trained_labels)
        self._sizes: dict[str, int] = {}  # modality -> items at a time, once memory has shown how many go

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities it encodes."""
        return tuple(self.towers)

    @property
    def kinds(self) -> dict[str, str]:
        """The modalities it encodes, and what each is: text, audio or image."""
        return {name: self.processors[name].kind for name in self.towers}

    def kind(self, modality: str) -> str:
        """What an item of this modality is. Raises `UserError` where there is no such modality."""
        if modality not in self.towers:
            raise UserError(f"modality {modality!r}: {self.name or 'this run'} encodes {', '.join(self.towers)}")
        return self.processors[modality].kind

    def fingerprint(self, modality: str) -> str:
        """SHA-256 over what decides this modality's embeddings: weights, settings of the tower, preprocessing."""
        tower, spec = self.towers[modality], self.provenance.get("towers", {}).get(modality, {})
        digest = hashlib.sha256(tower.fingerprint().encode())
        for name, value in sorted(tower.head.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        live = spec.get("tower", spec)  # of a store
        settings = {name: value for name, value in live.items() if name not in WHEREABOUTS}
        preprocessing = self.processors[modality].describe()
        digest.update(json.dumps([settings, preprocessing], sort_keys=True, default=str).encode())
        return digest.hexdigest()

    def is_fixed(self, modality: str) -> bool:
        """Do the embeddings of this modality never change: a locked tower without a head?"""
        return modality in self.towers and self.towers[modality].guides

    @overload
    def encode(
        self,
        modality: str,
        items: Sequence[Item],
        sample_rate: int | None = ...,
        batch_size: int | None = ...,
        output: Literal["torch"] = ...,
    ) -> Tensor: ...
    @overload
    def encode(
        self,
        modality: str,
        items: Sequence[Item],
        sample_rate: int | None = ...,
        batch_size: int | None = ...,
        *,
        output: Literal["numpy"],
    ) -> NDArray[np.float32]: ...
    def encode(
        self,
        modality: str,
        items: Sequence[Item],
        sample_rate: int | None = None,
        batch_size: int | None = None,
        output: Literal["torch", "numpy"] = "torch",
    ) -> Tensor | NDArray[np.float32]:
        """Unit-norm embeddings [N, D], float32, on the CPU.

        Args:
            modality: one of `modalities`.
            items: texts; audio as paths or arrays (which need their `sample_rate`, Hz); images as paths, files' bytes,
                Pillow images, or arrays uint8 [H, W, 3] or [H, W].
            sample_rate: Hz, of audio arrays.
            batch_size: items at a time; default: 256 on a GPU, else 64, halved where memory runs out.
            output: a torch tensor, or a numpy array.

        Raises:
            UserError: no such modality, an item that cannot be read, embeddings that are not finite.
        """
        if output not in ("torch", "numpy"):
            raise UserError(f"output {output!r}: expected torch or numpy")
        z, _, skipped = self.encode_readable(modality, items, sample_rate, batch_size)
        if skipped:
            raise UserError(f"{modality}: {skipped[0][1]}" + (f" (and {len(skipped) - 1} more)" if skipped[1:] else ""))
        return z.numpy() if output == "numpy" else z

    def encode_readable(
        self,
        modality: str,
        items: Sequence[Item],
        sample_rate: int | None = None,
        batch_size: int | None = None,
        progress: str | None = None,
    ) -> Embedded:
        """As `encode`, leaving out what cannot be read: (z [M, D], positions kept [M], (position, reason) skipped)."""
        kind = self.kind(modality)
        batch = isinstance(items, np.ndarray | Tensor) and kind == "image" and items.ndim == 4
        if not batch and (isinstance(items, str | bytes | np.ndarray | Tensor) or not isinstance(items, Sequence)):
            raise UserError(f"{modality}: expected a list of items, found one {type(items).__name__}")
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise UserError(f"{modality}: batch_size {batch_size}, expected a whole number, 1 or more")
        if kind == "text":
            for item in items:
                if not isinstance(item, str):
                    raise UserError(f"{modality}: expected texts, found {type(item).__name__}")
            return self._encode_texts(modality, list(map(str, items)), batch_size, progress), [*range(len(items))], []

        with tqdm(total=len(items), desc=progress, unit="items", delay=2, disable=progress is None) as bar:

            def encode(part: Sequence[Item]) -> Embedded:
                return self._encode_media(modality, part, sample_rate, batch_size, bar)

            if self.kept is None:
                return encode(items)
            maker = hashlib.sha256(f"{self.fingerprint(modality)} {self.dtype}".encode()).hexdigest()[:32]
            return self.kept.complete(maker, items, self.towers[modality].dim, encode)

    def _encode_media(
        self,
        modality: str,
        items: Sequence[Item],
        sample_rate: int | None,
        batch_size: int | None,
        bar: "tqdm[Any]",
    ) -> Embedded:
        pixels = self.max_pixels.get(modality, MOST_PIXELS)

        def read(item: Item) -> Any:
            return features_or_wave(self.processors[modality], item, sample_rate, pixels)

        parts, kept, skipped = [torch.empty(0, self.towers[modality].dim)], [], []
        is_image = self.processors[modality].kind == "image"
        with ThreadPoolExecutor(DECODERS) as pool:
            for start in range(0, len(items), DECODED):
                part = items[start : start + DECODED]
                good = []
                for position, found in enumerate(pool.map(_tried(read), part) if is_image else map(_tried(read), part)):
                    if isinstance(found, UNREADABLE):
                        skipped.append((start + position, str(found)))
                    else:
                        good.append(found)
                        kept.append(start + position)
                parts.append(self._embed(modality, good, batch_size, None))
                bar.update(len(part))
        return torch.cat(parts), kept, skipped

    def _encode_texts(self, modality: str, texts: list[str], batch_size: int | None, progress: str | None) -> Tensor:
        store = self.stores.get(modality)
        if store is None:
            return self._embed(modality, texts, batch_size, progress)
        tower = self.towers[modality]
        ids = np.array([content_id(t) for t in texts], dtype=np.int64)
        known = store.store.contains(ids)
        z = torch.empty(len(texts), tower.dim)
        if known.any():
            rows = store.collate(list(ids[known]))["rows"].to(self._device(modality))
            with torch.inference_mode():
                z[torch.from_numpy(known)] = tower.project(rows).z.float().cpu()
        if not known.all():
            fresh = [t for t, k in zip(texts, known, strict=True) if not k]
            z[torch.from_numpy(~known)] = self._embed(modality, fresh, batch_size, progress)
        return z

    def _embed(self, modality: str, items: Sequence[Any], batch_size: int | None, progress: str | None) -> Tensor:
        tower = self.towers[modality]
        if not items:
            return torch.empty(0, tower.dim)
        device = self._device(modality)
        size = batch_size or self._sizes.get(modality) or (GPU_BATCH if device.type == "cuda" else BATCH_SIZE)
        while True:
            try:
                with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
                    z = embed(
                        tower,
                        self.processors[modality],
                        items,
                        batch_size=size,
                        device=device,
                        what="z",
                        progress=progress,
                    )
                break
            except RuntimeError as error:
                if batch_size is not None or size == 1 or not _out_of_memory(error):
                    raise
                size = self._sizes[modality] = size // 2
        bad = int((~torch.isfinite(z).all(dim=1)).sum())
        if bad:
            raise UserError(
                f"{self.name}: {bad} of {len(z)} {modality} embeddings are NaN or infinite: damaged weights, or "
                f"numbers beyond {self.dtype}'s range; check the weights, or run in fp32"
            )
        return z

    def _device(self, modality: str) -> torch.device:
        return next((p.device for p in self.towers[modality].parameters()), torch.device("cpu"))


def _out_of_memory(error: RuntimeError) -> bool:
    """On a GPU, or (where torch has no class for it) on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _tried(read: Callable[[Item], Any]) -> Callable[[Item], Any]:
    """`read`, its error as a value."""

    def reader(item: Item) -> Any:
        try:
            return read(item)
        except UNREADABLE as error:
            return error

    return reader


def features_or_wave(
    processor: Processor, item: Item, sample_rate: int | None, max_pixels: int = MOST_PIXELS
) -> np.ndarray | Features:
    """Audio as a waveform at the tower's rate, an image as its features (a decoded photo takes 100 times the memory).

    Raises:
        AudioError, ImageError: what cannot be read.
    """
    if processor.kind == "image":
        if isinstance(item, str | Path | bytes):
            image = read_image(item, max_pixels=max_pixels)
        elif isinstance(item, Image.Image):
            try:
                image = upright(item)
            except (OSError, ValueError) as error:  # a truncated file is opened, and fails when it is decoded
                raise ImageError(f"{type(item).__name__}: {error}") from error
        else:
            pixels = np.asarray(item)
            if (
                not pixels.size
                or pixels.dtype != np.uint8
                or pixels.ndim not in (2, 3)
                or (pixels.ndim == 3 and pixels.shape[2] != 3)
            ):
                raise ImageError(
                    f"array of {pixels.dtype} {list(pixels.shape)}, expected uint8 [H, W, 3] (or [H, W], grey)"
                )
            image = Image.fromarray(pixels).convert("RGB")
        return Features(processor.features(image))
    rate = processor.sample_rate
    assert rate is not None
    if isinstance(item, str | Path):
        return read_audio(Path(item), rate)
    if sample_rate is None:
        raise UserError("arrays of audio need their sample rate: encode(modality, arrays, sample_rate=16000)")
    return as_waveform(np.asarray(item), sample_rate, rate)
