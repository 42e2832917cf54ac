"""One item to a tower's features: the only place that tells paths, files' bytes, pictures and samples apart.

    text     a string
    audio    a path, an address in a tar, a file's bytes, or samples [T] or [channels, T]
    image    a path, an address in a tar, a file's bytes, a Pillow image, or pixels uint8 [H, W, 3] or [H, W]
    item_id  an integer that names a row of a store

Also here, because training, stores and evaluation must agree on them: how long an item is, which lengths are refused,
and what stands in for a batch of which no item could be read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, cast

import numpy as np
from PIL import Image
from torch import Tensor

from xmodal.config.augment.audio import SpeechAugment, WaveformAugment
from xmodal.config.augment.image import ImageAugment
from xmodal.config.augment.text import TextAugment
from xmodal.config.data import AudioModality, ImageModality, ModalitySpec, TextModality
from xmodal.data.audio import AudioError, as_waveform, scan_headers
from xmodal.data.image import MOST_PIXELS, ImageError, read_image, upright
from xmodal.data.sources.audio_bytes import member_bytes, seconds_in, waveform
from xmodal.data.sources.tar_address import member_of
from xmodal.data.tally import Tally
from xmodal.data.views import log_mel
from xmodal.data.views.image import augment_image
from xmodal.data.views.text import Rewording
from xmodal.data.views.waveform import voice
from xmodal.errors import UserError
from xmodal.processor import ImageProcessor, Processor

COUNTED = 20_000  # texts looked at for those that are cut
SHOWN = 60  # characters of a text in a line
UNREADABLE = (AudioError, ImageError)  # what `ItemReader` raises of an item that is damaged, missing or of a wrong form


@dataclass(frozen=True)
class ItemReader:
    """Reads the items of one tower.

    Args:
        processor: the tower's own.
        root: the folder that relative paths start from; none: the working directory.
        max_pixels: an image with more is refused before it is decoded.
        sample_rate: Hz, of samples in memory; needed for them alone.
        rewording: makes the views of texts; needed for them alone.

    Example:
        reader = ItemReader(processor, root=Path("data/fsdd"))
        reader.features("recordings/0_george_0.wav")  # [T, F], or whatever the processor makes
    """

    processor: Processor
    root: Path | None = None
    max_pixels: int = MOST_PIXELS
    sample_rate: int | None = None
    rewording: Rewording | None = None

    def features(self, item: Any) -> np.ndarray:
        """The features of one item, without padding; raises as `decode` does."""
        return self.processor.features(self.decode(item))

    def decode(self, item: Any) -> Any:
        """One item as its processor takes it: a string, a waveform [T] float32, an RGB image, an integer.

        Raises:
            AudioError, ImageError: the item cannot be read.
            UserError: not an item of this kind, or samples whose rate nobody said.
        """
        kind = self.processor.kind
        if kind == "audio":
            return self._audio(item)
        if kind == "image":
            return self._image(item)
        if kind == "text" and not isinstance(item, str):
            raise UserError(f"expected texts, found {type(item).__name__}")
        return item

    def view(
        self, item: Any, augment: ImageAugment | SpeechAugment | WaveformAugment | TextAugment, rng: np.random.Generator
    ) -> np.ndarray:
        """The features of one augmented view of one item; raises as `decode` does."""
        decoded = self.decode(item)
        if isinstance(augment, TextAugment):
            return self.reworded(decoded, rng)
        if isinstance(augment, WaveformAugment):
            voiced = voice(decoded, augment, rate_of(self.processor), rng)
            return self.processor.features(voiced)
        return augmented(self.processor, augment, rng, lambda: decoded, lambda: self.processor.features(decoded))

    def reworded(self, text: str, rng: np.random.Generator, others: Sequence[str] = ()) -> np.ndarray:
        """The features of another wording of a text, see `Rewording`."""
        assert self.rewording is not None
        return self.processor.features(self.rewording(text, rng, others))

    def _audio(self, item: Any) -> np.ndarray:
        rate = rate_of(self.processor)
        if isinstance(item, str | Path | bytes):
            return waveform(item, rate, self.root)
        if self.sample_rate is None:
            raise UserError("arrays of audio need their sample rate: encode(modality, arrays, sample_rate=16000)")
        return as_waveform(np.asarray(item), self.sample_rate, rate)

    def _image(self, item: Any) -> Image.Image:
        if isinstance(item, str | Path | bytes):
            return read_image(item, self.root, self.max_pixels)
        if isinstance(item, Image.Image):
            try:
                return upright(item)
            except (OSError, ValueError) as error:  # a truncated file is opened, and fails when it is decoded
                raise ImageError(f"{type(item).__name__}: {error}") from error
        pixels = np.asarray(item)
        grey = pixels.ndim == 2
        if not pixels.size or pixels.dtype != np.uint8 or not (grey or (pixels.ndim == 3 and pixels.shape[2] == 3)):
            raise ImageError(
                f"array of {pixels.dtype} {list(pixels.shape)}, expected uint8 [H, W, 3] (or [H, W], grey)"
            )
        return Image.fromarray(pixels).convert("RGB")


def augmented(
    processor: Processor,
    augment: ImageAugment | SpeechAugment,
    rng: np.random.Generator,
    image: Callable[[], Image.Image],
    features: Callable[[], np.ndarray],
) -> np.ndarray:
    """One augmented view of an item's features.

    Args:
        processor: the tower's own.
        augment: what to do.
        rng: draws every random number.
        image: gives the whole image; asked for by random resized crops alone.
        features: gives the item's features without augmentation; they may be cached.
    """
    if isinstance(augment, SpeechAugment):
        return log_mel.augment(features(), augment, rng)
    return augment_image(image, features, cast(ImageProcessor, processor), augment, rng)


def lengths_of(spec: ModalitySpec, items: Sequence[Any], root: Path | None = None) -> tuple[np.ndarray, dict[int, str]]:
    """How long items are, and why some cannot be used, without decoding them.

    Args:
        spec: the modality; audio outside `min_seconds` to `max_seconds` cannot be used.
        items: [n] of it. Of audio the headers are read.
        root: the folder that relative paths start from.

    Returns:
        Lengths [n]: seconds of audio, characters of text, 0 for images and for what cannot be used; and the reasons by
        position.
    """
    lengths = np.zeros(len(items))
    if isinstance(spec, TextModality):
        blank = {at: "empty text" for at, text in enumerate(items) if not text.strip()}
        return np.array([len(text) for text in items], dtype=np.float64), blank
    reasons: dict[int, str] = {}
    if isinstance(spec, AudioModality):
        for at, (name, found) in enumerate(_seconds(items, root)):
            if isinstance(found, AudioError):
                reasons[at] = str(found)
            elif not spec.min_seconds <= found <= spec.max_seconds:
                reasons[at] = f"{name}: {found:.2f} s, expected {spec.min_seconds:g} to {spec.max_seconds:g} s"
            else:
                lengths[at] = found
    return lengths, reasons


def _seconds(items: Sequence[Any], root: Path | None) -> list[tuple[str, float | AudioError]]:
    """What each item of audio is called, and its length by its header, or why there is none."""
    found: list[tuple[str, float | AudioError]] = []
    paths = [Path(root or "", item) for item in items if not (isinstance(item, bytes) or member_of(str(item)))]
    of_files = iter(zip(map(str, paths), scan_headers(paths), strict=True))
    for item in items:
        if not isinstance(item, bytes) and not member_of(str(item)):
            found.append(next(of_files))
            continue
        name = f"{len(item)} bytes" if isinstance(item, bytes) else str(item)
        try:
            data = item if isinstance(item, bytes) else member_bytes(root, item)
            found.append((name, seconds_in(data, name)))
        except AudioError as error:
            found.append((name, error))
    return found


def count_cut(
    processor: Processor, spec: ModalitySpec, items: Sequence[Any], lengths: np.ndarray, tally: Tally
) -> None:
    """Count the items of which a tower does not see all: texts beyond what it reads, audio beyond its window.

    Args:
        processor: the tower's own.
        spec: the modality.
        items: [n] of it; of more than `COUNTED` texts so many are looked at, evenly spread, and a note says so.
        lengths: [n] of them, see `lengths_of`; audio is not decoded: silence of the same length is asked about.
        tally: is told.
    """
    cut = getattr(processor, "cut", None)  # a processor of someone else's need not say
    if cut is None or processor.kind != spec.kind or isinstance(spec, ImageModality):
        return
    looked_at = range(len(items))
    if isinstance(spec, TextModality) and len(items) > COUNTED:
        looked_at = range(0, len(items), -(-len(items) // COUNTED))
        tally.notes.append(f"cut texts: counted over {len(looked_at):,} of {len(items):,}, evenly spread")
    for at in looked_at:
        item = items[at]
        if isinstance(spec, AudioModality):
            item = np.broadcast_to(np.float32(0), (round(lengths[at] * rate_of(processor)),))
        reason = cut(item)
        if reason is not None:
            tally.cut_short(shorten(str(items[at]), SHOWN, placeholder=" ..."), reason)


def empty_batch(processor: Processor, item_id: int = 0) -> dict[str, Tensor]:
    """A batch of no items with the names, types and shapes of any other: [0, ...].

    Where no item of a process could be read, the other processes' collectives must still find it there. A stand-in
    gives the tensors their shapes, then it is cut away; of a store it is the row of `item_id`, which must be there.
    """
    stand_in: Any = "a"
    if processor.kind == "item_id":
        stand_in = item_id
    elif processor.kind == "audio":
        stand_in = np.random.default_rng(0).standard_normal(rate_of(processor)).astype(np.float32)
    elif processor.kind == "image":
        stand_in = Image.new("RGB", (64, 64))
    return {name: rows[:0] for name, rows in processor.collate([processor.features(stand_in)]).items()}


def rate_of(processor: Processor) -> int:
    """The sample rate of a processor of audio, Hz."""
    if processor.sample_rate is None:
        raise ValueError("a processor of kind audio must have a sample rate")
    return processor.sample_rate
