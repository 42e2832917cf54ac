"""Items as a page shows them: a small picture, or the first seconds of a recording, which every browser plays.

Input: where an item is, or its bytes. Output: `Shown`, or None where it cannot be read (any more).
"""

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from xmodal.data.audio import AudioError, as_waveform
from xmodal.data.image import ImageError, read_image
from xmodal.data.sources.audio_bytes import member_bytes
from xmodal.data.sources.tar_address import member_of
from xmodal.report.examples import TYPES

Source = str | Path | bytes

SMALL = 64  # pixels; smaller pictures are kept as they are
SECONDS = 12  # of a recording; a longer one is cut, which is told
RATE = 16_000  # Hz


@dataclass(frozen=True)
class Shown:
    """The bytes of a picture or a recording, what they are (a key of `TYPES`), and what of the item is not in them."""

    data: bytes
    suffix: str
    cut: str = ""

    @property
    def type(self) -> str:
        """The media type."""
        return TYPES[self.suffix]

    @property
    def is_picture(self) -> bool:
        """Is it to be looked at, rather than listened to?"""
        return self.type.startswith("image/")

    @property
    def url(self) -> str:
        """All of it, as an address for a page that needs nothing else."""
        return f"data:{self.type};base64,{base64.b64encode(self.data).decode('ascii')}"


def shown(kind: str, source: Source, side: int) -> Shown | None:
    """An image of at most `side` pixels a side, or the beginning of a recording.

    Example:
        shown("audio", Path("clip.flac"), side=0).type  # audio/mpeg
    """
    try:
        return _picture(source, side) if kind == "image" else _recording(source)
    except (ImageError, AudioError, OSError, soundfile.SoundFileError, TypeError, MemoryError):
        return None


def _picture(source: Source, side: int) -> Shown:
    image = read_image(source).convert("RGB")
    small = max(image.size) <= SMALL
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG" if small else "JPEG", optimize=True, quality=85)
    return Shown(buffer.getvalue(), ".png" if small else ".jpg")


def _recording(source: Source) -> Shown:
    """As MP3; as WAV where this libsndfile writes none. No more than is shown is decoded."""
    if not isinstance(source, bytes) and member_of(str(source)):
        source = member_bytes(None, str(source))
    with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
        rate, seconds = file.samplerate, file.frames / file.samplerate
        samples = file.read(SECONDS * rate, dtype="float32", always_2d=True).mean(axis=1)
    cut = f"(the first {SECONDS} of {math.ceil(seconds)} s)" if seconds > SECONDS else ""
    form, subtype = ("MP3", "MPEG_LAYER_III") if "MP3" in soundfile.available_formats() else ("WAV", "PCM_16")
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(as_waveform(samples, rate, RATE), -1, 1), RATE, subtype, format=form)
    return Shown(buffer.getvalue(), f".{form.lower()}", cut)
