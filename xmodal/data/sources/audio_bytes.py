"""Audio wherever it is: a file, the bytes of one in a table, or a place in a tar."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from xmodal.data.audio import LONGEST, AudioError, as_waveform, promised_samples, read_audio, require_whole
from xmodal.data.sources.tar_address import member_of, read_member
from xmodal.errors import UserError


def waveform(item: str | Path | bytes, rate: int, root: Path | None = None) -> np.ndarray:
    """A recording [T], float32 mono at `rate` Hz: a path or an address in a tar under `root`, or a file's bytes.

    Raises:
        AudioError: it cannot be read.
    """
    if isinstance(item, bytes):
        return decode_audio(item, f"{len(item)} bytes", rate)
    if member_of(str(item)):
        return decode_audio(member_bytes(root, str(item)), str(item), rate)
    return read_audio(Path(root or "", item), rate)


def decode_audio(data: bytes, name: str, sample_rate: int) -> np.ndarray:
    """The bytes of an audio file to a waveform [T] float32, mono, at `sample_rate` Hz; as `read_audio` does of a file.

    Raises:
        AudioError: no audio, over an hour of it, samples that are not finite; `name` says of what.
    """
    with _opened(data, name) as file:
        if file.frames > LONGEST * file.samplerate:
            seconds = file.frames / file.samplerate
            raise AudioError(f"{name}: {seconds:,.0f} s, more than {LONGEST:,} s; cut it into pieces")
        expected, is_mp3, rate = promised_samples(file), file.format in ("MP3", "MPEG"), file.samplerate
        samples = file.read(dtype="float32", always_2d=True)  # [T, channels]
    require_whole(len(samples), expected, is_mp3, name)
    try:
        return as_waveform(samples.mean(axis=1), rate, sample_rate)
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from error


def seconds_in(data: bytes, name: str) -> float:
    """The length that the header of an audio file's bytes gives. Raises `AudioError` where there is none."""
    with _opened(data, name) as file:
        return float(file.frames / file.samplerate)


def member_bytes(root: Path | None, address: str) -> bytes:
    """The bytes at an address in a tar. Raises `AudioError` where they cannot be read."""
    try:
        return read_member(root or Path(), address)
    except (UserError, OSError) as error:
        raise AudioError(f"{address}: cannot be read ({getattr(error, 'error_string', error)})") from error


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[soundfile.SoundFile]:
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            yield file
    except (soundfile.SoundFileError, OSError, TypeError, MemoryError) as error:
        reason = error.error_string.strip().rstrip(".") if isinstance(error, soundfile.LibsndfileError) else error
        raise AudioError(f"{name}: cannot be decoded ({reason})") from error
