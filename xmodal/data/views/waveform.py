"""Training views of recordings. Input: a waveform [T] float32. Output: another voicing of it, as another room, speaker
or microphone would have given it.

The steps come in a fixed order: speed, shift, room, gain, noise, band. Axes: T samples.
"""

import math

import numpy as np
from numpy.typing import NDArray

from xmodal.config.augment.audio import WaveformAugment

Wave = NDArray[np.float32]

SILENT = 1e-5  # root mean square; noise at an SNR to nothing would be nothing


def voice(wave: Wave, spec: WaveformAugment, sample_rate: int, rng: np.random.Generator) -> Wave:
    """A random voicing [T'] float32 of `wave`, which stays as it is and is returned when `spec` changes nothing.

    - speed s: played faster or slower by a factor in [1 / (1 + s), 1 + s], log-uniform; T and pitch change
    - shift s: moved by up to s seconds, earlier or later, by half of its length at most; what leaves is lost, and
      silence fills the gap
    - room r: convolved with a made-up impulse response: the direct sound, then noise that decays by 60 dB in a time
      uniform in [0.05, r] s (Polack 1988), 0 to 12 dB weaker than the direct sound in all
    - gain g: louder or quieter by a level uniform in [-g, g] dB
    - snr [low, high]: noise is added, this many dB under the recording, uniform; its spectrum falls by a power of the
      frequency uniform in [0, 2], from white to brown
    - band b: with probability b only the frequencies between two limits are kept, the lower uniform in
      `band_low` (0 to 300 Hz), the upper log-uniform in `band_high` (3 to 8 kHz); 48 dB an octave above, 12 dB below
      (a telephone has 300 Hz to 3.4 kHz)

    Example:
        voiced = voice(wave, WaveformAugment(speed=0.1, snr=(10, 40)), 16_000, np.random.default_rng(0))
    """
    if not spec.is_active:
        return wave
    x = wave.astype(np.float32)
    if spec.speed:
        factor = float((1 + spec.speed) ** rng.uniform(-1, 1))
        places = np.arange(max(1, round(len(x) / factor))) * factor
        x = np.interp(places, np.arange(len(x)), x).astype(np.float32)
    if spec.shift:
        most = min(spec.shift * sample_rate, len(x) / 2)
        x = _moved(x, round(rng.uniform(-most, most)))
    if spec.room:
        from scipy.signal import fftconvolve  # late: few runs need it

        x = fftconvolve(x, _response(spec.room, sample_rate, rng))[: len(x)].astype(np.float32)
    if spec.gain:
        x = x * np.float32(10 ** (rng.uniform(-spec.gain, spec.gain) / 20))
    if spec.snr is not None:
        level, power = rng.uniform(*spec.snr), rng.uniform(0, 2)
        loud = float(np.sqrt(np.mean(np.square(x))))
        if loud > SILENT:
            x = x + np.float32(loud * 10 ** (-level / 20)) * _noise(len(x), power, rng)
    if spec.band and rng.random() < spec.band:
        least, highest = map(math.log, spec.band_high)
        x = _between(x, rng.uniform(*spec.band_low), math.exp(rng.uniform(least, highest)), sample_rate)
    return np.ascontiguousarray(x, np.float32)


def _moved(wave: Wave, by: int) -> Wave:
    """The wave `by` samples later (earlier where negative), with silence in the gap."""
    moved = np.zeros_like(wave)
    if by >= 0:
        moved[by:] = wave[: len(wave) - by]
    else:
        moved[:by] = wave[-by:]
    return moved


def _response(longest: float, sample_rate: int, rng: np.random.Generator) -> Wave:
    """An impulse response: 1, then decaying noise."""
    seconds = rng.uniform(min(0.05, longest), longest)
    times = np.arange(1, max(2, round(seconds * sample_rate))) / sample_rate
    tail = rng.standard_normal(len(times)) * np.exp(-math.log(1000) * times / seconds)
    tail *= 10 ** (-rng.uniform(0, 12) / 20) / np.sqrt(np.square(tail).sum())
    return np.concatenate([[1.0], tail]).astype(np.float32)


def _between(wave: Wave, low: float, high: float, sample_rate: int) -> Wave:
    """The wave without what is below `low` and above `high` Hz, by Butterworth's magnitudes, phases as they were."""
    hertz = np.fft.rfftfreq(len(wave), 1 / sample_rate)
    passed = 1 / np.sqrt(1 + (hertz / high) ** 16)
    passed *= np.sqrt(hertz**4 / (hertz**4 + low**4 + 1e-12))
    return np.fft.irfft(np.fft.rfft(wave) * passed, len(wave)).astype(np.float32)


def _noise(samples: int, power: float, rng: np.random.Generator) -> Wave:
    """Noise [T] of root mean square 1 whose power falls with the frequency to the `power`."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    spectrum *= np.arange(1, len(spectrum) + 1) ** (-power / 2)
    noise = np.fft.irfft(spectrum, samples)
    return (noise / max(1e-12, float(np.sqrt(np.mean(np.square(noise)))))).astype(np.float32)
