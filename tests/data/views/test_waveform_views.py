"""Voicings of recordings: what each step does to a waveform, measured."""

import numpy as np
import pytest

from xmodal.config.augment.audio import WaveformAugment
from xmodal.data.views.waveform import voice

RATE = 16_000


def tone(hertz: float = 440.0, seconds: float = 1.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def changed(spec: WaveformAugment, seed: int = 0, wave: np.ndarray | None = None) -> np.ndarray:
    return voice(tone() if wave is None else wave, spec, RATE, np.random.default_rng(seed))


def level(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64))))


def test_nothing_set_changes_nothing() -> None:
    wave = tone()
    assert changed(WaveformAugment(), wave=wave) is wave


def test_speed_moves_length_and_pitch_alike() -> None:
    for seed in range(5):
        played = changed(WaveformAugment(speed=0.3), seed)
        factor = RATE / len(played)
        peak = np.fft.rfft(played * np.hanning(len(played)), 8 * RATE).__abs__().argmax() / 8
        assert 1 / 1.3 <= factor <= 1.3
        assert peak == pytest.approx(440 * factor, rel=0.01)
    assert len({len(changed(WaveformAugment(speed=0.3), seed)) for seed in range(5)}) == 5


def test_gain_stays_in_its_range() -> None:
    found = [level(changed(WaveformAugment(gain=6), seed)) - level(tone()) for seed in range(20)]
    assert -6 <= min(found) < -3
    assert 3 < max(found) <= 6


def test_noise_lies_so_far_under_the_recording() -> None:
    for seed in range(5):
        noise = changed(WaveformAugment(snr=(20, 20)), seed) - tone()
        assert level(tone()) - level(noise) == pytest.approx(20, abs=0.1)
    silent = np.zeros(RATE, np.float32)
    assert not changed(WaveformAugment(snr=(20, 20)), wave=silent).any()


def test_a_room_keeps_the_direct_sound_and_decays() -> None:
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    heard = changed(WaveformAugment(room=0.5), 3, click)
    assert heard[0] == pytest.approx(1)
    energy = np.cumsum(np.square(heard[::-1].astype(np.float64)))[::-1]  # Schroeder's backward integral
    assert energy[1] <= 1.001
    assert energy[int(0.5 * RATE)] < 1e-6 * energy[1]


def test_equal_seeds_give_equal_voicings_and_others_do_not() -> None:
    spec = WaveformAugment(speed=0.1, room=0.3, gain=6, snr=(5, 30))
    assert np.array_equal(changed(spec, 1), changed(spec, 1))
    assert not np.array_equal(changed(spec, 1)[:1000], changed(spec, 2)[:1000])
    assert np.isfinite(changed(spec, 1, np.zeros(3, np.float32))).all()


def test_a_narrower_band_keeps_its_middle_and_loses_its_ends() -> None:
    wave = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    heard = [changed(WaveformAugment(band=1), seed, wave) for seed in range(8)]
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)
    kept = [np.abs(np.fft.rfft(each)) / np.abs(np.fft.rfft(wave)) for each in heard]
    assert all(np.allclose(each[(hertz > 1000) & (hertz < 2400)], 1, atol=0.05) for each in kept)
    ends = [hertz[(hertz > 1000) & (each < 2**-0.5)] for each in kept]
    assert all(3000 <= high[0] <= 8000 for high in ends if len(high))
    assert sum(each[hertz > 6000].mean() < 0.2 for each in kept) >= 3
    half = [changed(WaveformAugment(band=0.5), seed, wave) for seed in range(40)]
    assert 10 <= sum(np.array_equal(each, wave) for each in half) <= 30


def test_a_shift_moves_the_recording_and_leaves_silence() -> None:
    wave = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    found = []
    for seed in range(200):
        moved = voice(wave, WaveformAugment(shift=0.1), 1000, np.random.default_rng(seed))
        by = round(float(np.random.default_rng(seed).uniform(-100, 100)))
        want = np.zeros(1000, np.float32)
        want[max(0, by) : min(1000, 1000 + by)] = wave[max(0, -by) : min(1000, 1000 - by)]
        np.testing.assert_array_equal(moved, want)
        found.append(by)
    assert min(found) < -80
    assert max(found) > 80
    for seed in range(20):  # by half of it at most: something is left to hear
        assert (voice(wave, WaveformAugment(shift=60), 1000, np.random.default_rng(seed)) != 0).sum() >= 500


def test_a_band_has_the_limits_it_is_given() -> None:
    wave = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    heard = changed(WaveformAugment(band=1, band_low=(1000, 1000), band_high=(2000, 2000)), 0, wave)
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)
    kept = np.abs(np.fft.rfft(heard)) / np.abs(np.fft.rfft(wave))
    # Butterworth's magnitudes, of order 2 below and 8 above: 1 / sqrt(2) at the limits
    want = 1 / np.sqrt(1 + (1000 / np.maximum(hertz, 1e-9)) ** 4) / np.sqrt(1 + (hertz / 2000) ** 16)
    assert np.allclose(kept[1:], want[1:], atol=1e-3)
    with pytest.raises(ValueError, match="reaches band_high"):
        WaveformAugment(band=1, band_low=(0, 4000))
    with pytest.raises(ValueError, match=r"band_high \[3000\.0, 1000\.0\]: expected \[least, most\] in Hz"):
        WaveformAugment(band=1, band_high=(3000, 1000))


def test_a_store_made_before_there_were_shifts_is_described_as_then() -> None:
    then = {"speed": 0.1, "room": 0.0, "gain": 6.0, "snr": [5.0, 30.0], "band": 0.5}
    assert WaveformAugment(speed=0.1, gain=6, snr=(5, 30), band=0.5).described() == then
    assert WaveformAugment(speed=0.1, shift=0.2).described()["shift"] == 0.2
