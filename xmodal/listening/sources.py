"""Where sound comes from: a file, raw samples on standard input, a microphone. Output: blocks of a mono waveform.

Everything is read block by block: an hour of audio takes no more memory than a second. Axes: T samples of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from xmodal.data.audio import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS, promised_samples
from xmodal.errors import UserError, no_such_file
from xmodal.listening.segmentation import Waveform

BLOCK = 0.5  # s of a file or of standard input
LIVE = 0.1  # s of a microphone
_MAGIC = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3"}  # by their first bytes


@dataclass
class Source:
    """A sound as it comes; `notes` are what was found wrong with it on the way."""

    name: str
    rate: int  # Hz
    blocks: Iterator[Waveform]
    notes: list[str]


def from_file(path: Path) -> Source:
    """A sound file: any that libsndfile reads, any rate from 4 to 768 kHz, any number of channels (averaged).

    Raises:
        UserError: no such file, no sound file, no samples, a rate or a number of channels that cannot be; and while
            reading: what cannot be decoded, samples that are not finite.
    """
    if not path.is_file():
        raise UserError(f"{path}: is a folder, expected a sound file") if path.is_dir() else no_such_file(path)
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: headerless .raw
        known = path.suffix[1:].upper() in soundfile.available_formats().keys() - {"RAW"}
        way_out = "record or convert it again" if known else "raw samples go on standard input: xmodal listen RUN - < "
        raise UserError(
            f"{path}: cannot be read as a sound file ({_short(error)}); {way_out}{'' if known else path.name}"
        ) from None
    _require_rate(file.samplerate, str(path))
    if file.channels > MOST_CHANNELS:
        raise UserError(f"{path}: {file.channels} channels, expected at most {MOST_CHANNELS}; mix it down")
    if file.frames <= 0:
        raise UserError(f"{path}: no samples; record it again")
    notes: list[str] = []
    return Source(str(path), file.samplerate, _file_blocks(file, path, notes), notes)


def from_stream(stream: BinaryIO, rate: int, name: str = "standard input") -> Source:
    """Raw samples, 16 bits, little endian, one channel. Raises `UserError` for a rate that cannot be."""
    _require_rate(rate, "--rate")
    notes: list[str] = []
    return Source(name, rate, _stream_blocks(stream, rate, name, notes), notes)


def from_microphone(rate: int) -> Source:
    """The default microphone, until Ctrl-C.

    Raises:
        UserError: sounddevice is not installed or finds no PortAudio; no microphone.
    """
    _require_rate(rate, "--rate")
    instead = "give a FILE, or raw samples on standard input: arecord -t raw -f S16_LE -r 16000 | xmodal listen RUN -"
    try:
        import sounddevice
    except ImportError:
        raise UserError(f"sounddevice is not installed; pip install 'xmodal[listen]', or {instead}") from None
    except OSError as error:  # its library is not there
        raise UserError(f"the microphone cannot be used ({_short(error)}); {instead}") from None
    try:
        stream = sounddevice.InputStream(
            samplerate=rate, channels=1, dtype="float32", blocksize=round(LIVE * rate), latency=2.0
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise UserError(f"no microphone that gives {rate} Hz ({_short(error)}); {instead}") from None
    notes: list[str] = []
    return Source("microphone", rate, _live_blocks(stream, notes), notes)


def _file_blocks(file: soundfile.SoundFile, path: Path, notes: list[str]) -> Iterator[Waveform]:
    read, promised = 0, promised_samples(file)
    with file:
        while True:
            at = read / file.samplerate
            try:
                samples = file.read(round(BLOCK * file.samplerate), dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, OSError) as error:
                raise UserError(
                    f"{path}: cannot be decoded after {at:.1f} s ({_short(error)}); mend the file"
                ) from None
            if not len(samples):
                break
            read += len(samples)
            if not np.isfinite(samples).all():
                raise UserError(f"{path}: samples that are NaN or infinite after {at:.1f} s; mend the file")
            yield np.asarray(samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0], np.float32)
    # an MP3 without a full header only estimates its length
    if read < (0.5 if file.format in ("MP3", "MPEG") else 0.99) * promised:
        notes.append(
            f"{path}: truncated: {read / file.samplerate:.1f} of {promised / file.samplerate:.1f} s could be read"
        )


def _stream_blocks(stream: BinaryIO, rate: int, name: str, notes: list[str]) -> Iterator[Waveform]:
    size, left, heard = 2 * round(BLOCK * rate), b"", False
    while data := stream.read(size):
        if not heard:
            _require_raw(data, name)
        heard = True
        data = left + data
        whole = len(data) // 2 * 2
        left = data[whole:]
        yield np.frombuffer(data[:whole], dtype="<i2").astype(np.float32) / np.float32(32768)
    if not heard:
        raise UserError(f"{name}: no samples, expected raw ones of 16 bits, little endian, one channel, at {rate} Hz")
    if left:
        notes.append(f"{name}: ended in the middle of a sample, which is left out; is it 16 bits, one channel?")


def _require_raw(data: bytes, name: str) -> None:
    """Raises `UserError` where the first bytes are those of a sound file, whose header would be heard as noise."""
    kind = next((kind for start, kind in _MAGIC.items() if data.startswith(start)), None)
    if kind:
        raise UserError(
            f"{name}: begins as a {kind} file, expected raw samples of 16 bits; name the file in place of -, or pipe "
            "it through ffmpeg -i - -f s16le -ac 1 -ar 16000 -"
        )


def _live_blocks(stream: "object", notes: list[str]) -> Iterator[Waveform]:
    lost = 0
    try:
        with stream as opened:  # type: ignore[attr-defined]
            while True:
                samples, overflowed = opened.read(opened.blocksize)
                lost += bool(overflowed)
                yield samples[:, 0].copy()
    except KeyboardInterrupt:
        if lost:
            notes.append(f"microphone: {lost} blocks came too fast and are lost in part; close other programs")


def _require_rate(rate: int, name: str) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UserError(f"{name}: sample rate {rate} Hz, expected {LOWEST_RATE:,} to {HIGHEST_RATE:,} Hz; convert it")


def _short(error: BaseException) -> str:
    text = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    return " ".join(text.split()).rstrip(".")[:160] or type(error).__name__
