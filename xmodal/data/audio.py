"""Audio files and arrays to one form: float32 mono at the sample rate asked for.

Input: a path or an array, any number of channels and sample rate. Output: a waveform [T]. soundfile decodes (wav, flac,
ogg, mp3). What cannot be used raises `AudioError` with the path and the reason.
"""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from xmodal.data.sample_rate import resample
from xmodal.distributed import rank
from xmodal.progress import progress_bar

LOWEST_RATE, HIGHEST_RATE = 4_000, 768_000  # Hz; anything else is a broken header
LONGEST = 3_600  # seconds; a small file can hold days of silence
MOST_CHANNELS = 64  # more "channels" than this is a [T, channels] array
UNKNOWN_LENGTH = 0x7FFF0000  # bytes; what is written to a pipe claims as many, or more, for want of knowing
FINEST_RATIO = 2_000  # a resampling kernel holds ratio x ratio numbers: 16 MB at most

_WAV_CUT = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)  # libsndfile's notes on a header


class AudioError(ValueError):
    """Audio that cannot be used: which, and why."""


def read_audio(path: str | Path, sample_rate: int) -> np.ndarray:
    """Decode a file: float32 mono [T] at `sample_rate` Hz; channels are averaged.

    Raises `AudioError`: missing, unreadable, truncated or empty file, over an hour of audio, samples that are not
    finite, a sample rate outside 4 to 768 kHz.

    Example:
        waveform = read_audio("clip.ogg", 16_000)
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate, expected, format_ = file.samplerate, promised_samples(file), file.format
            if file.frames > LONGEST * rate:
                raise AudioError(f"{path}: {file.frames / rate:,.0f} s, more than {LONGEST:,} s; cut it into pieces")
            samples = file.read(dtype="float32", always_2d=True)  # [T, channels]
    except (soundfile.SoundFileError, OSError, TypeError, MemoryError) as error:  # TypeError: headerless .raw
        raise AudioError(f"{path}: {_reason(path, error)}") from error
    require_whole(len(samples), expected, format_ in ("MP3", "MPEG"), str(path))
    return _finish(samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0], rate, sample_rate, str(path))


def as_waveform(array: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """The same for samples in memory: [T], or [channels, T] (averaged), at `rate` Hz.

    Integer samples are scaled by their type's range (int16 by 1 / 32768). Raises `AudioError` as `read_audio` does,
    and for an array that looks like [T, channels].

    Example:
        waveform = as_waveform(np.zeros((2, 44_100), np.int16), 44_100, 16_000)
    """
    samples = np.asarray(array)
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[0] > MOST_CHANNELS):
        raise AudioError(f"array of shape {list(samples.shape)}, expected [T] or [channels, T]")
    if samples.dtype.kind not in "iuf":
        raise AudioError(f"array of {samples.dtype} values, expected floats or integers")
    if samples.dtype.kind in "iu":
        half = 2.0 ** (8 * samples.dtype.itemsize - 1)
        samples = samples / half - (1.0 if samples.dtype.kind == "u" else 0.0)
    if samples.ndim == 2:
        samples = samples.mean(axis=0) if len(samples) else samples.reshape(-1)
    return _finish(samples.astype(np.float32), rate, sample_rate, f"array of shape {list(np.shape(array))}")


def require_whole(found: int, expected: int, is_mp3: bool, name: str) -> None:
    """Raise `AudioError` where fewer samples were read than the header says; an MP3's may be no more than a guess."""
    if found < (0.5 if is_mp3 else 0.99) * expected:
        raise AudioError(f"{name}: truncated, {found} of {expected} samples could be read")


def promised_samples(file: Any) -> int:
    """How many samples a file's header speaks of; of a WAV libsndfile itself counts those that are there.

    Args:
        file: an open `SoundFile`, or what `soundfile.info` gives.
    """
    found = _WAV_CUT.search(file.extra_info)
    if found is None or int(found[1]) >= UNKNOWN_LENGTH or int(found[2]) == 0:
        return int(file.frames)
    return round(file.frames * int(found[1]) / int(found[2]))


def audio_seconds(path: str | Path) -> float:
    """Length in seconds, from the file's header alone. Raises `AudioError` for what the header can show."""
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise AudioError(f"{path}: {_reason(path, error)}") from error
    _check_rate(info.samplerate, str(path))
    if info.frames <= 0:
        raise AudioError(f"{path}: no samples")
    require_whole(info.frames, promised_samples(info), info.format in ("MP3", "MPEG"), str(path))
    return info.frames / info.samplerate


def scan_headers(paths: Sequence[Path]) -> list[float | AudioError]:
    """`audio_seconds` of many files, in their order; in an unusable file's place its error. In threads."""

    def scan(path: Path) -> float | AudioError:
        try:
            return audio_seconds(path)
        except AudioError as error:
            return error

    found: list[float | AudioError] = []
    with (
        ThreadPoolExecutor(8) as pool,
        progress_bar(total=len(paths), desc="reading audio headers", unit="file", delay=2, disable=rank() > 0) as bar,
    ):
        for start in range(0, len(paths), 512):  # piecewise, so that a million files are not a million futures
            found.extend(pool.map(scan, paths[start : start + 512]))
            bar.update(len(found) - start)
    return found


def _finish(samples: np.ndarray, rate: int, sample_rate: int, name: str) -> np.ndarray:
    _check_rate(rate, name)
    if not len(samples):
        raise AudioError(f"{name}: no samples")
    if not np.isfinite(samples).all():
        bad = int(np.count_nonzero(~np.isfinite(samples)))
        raise AudioError(f"{name}: {bad} of {len(samples)} samples are NaN or infinite")
    ratio = _ratio(rate, sample_rate)
    if ratio == 1:
        return np.ascontiguousarray(samples)
    return resample(torch.from_numpy(np.ascontiguousarray(samples)), ratio.denominator, ratio.numerator).numpy()


def _check_rate(rate: int, name: str) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"{name}: sample rate {rate} Hz, expected {LOWEST_RATE} to {HIGHEST_RATE} Hz")


def _ratio(rate: int, sample_rate: int) -> Fraction:
    """`sample_rate / rate` in lowest terms, exact for all usual rates.

    An odd rate (44,099 Hz) would need a kernel of gigabytes; it gets the nearest ratio of smaller numbers, which is
    off by less than 0.06% (a hundredth of a semitone).
    """
    if rate > sample_rate:
        return Fraction(sample_rate, rate).limit_denominator(FINEST_RATIO)
    return 1 / Fraction(rate, sample_rate).limit_denominator(FINEST_RATIO)


def _reason(path: str | Path, error: Exception) -> str:
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where the name is too long)
        return "no such file"
    if isinstance(error, soundfile.LibsndfileError):
        return f"cannot be decoded ({error.error_string.strip().rstrip('.')})"
    return f"cannot be read ({error})"
