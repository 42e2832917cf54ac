"""Where somebody speaks: made of tones and noise whose places are known."""

import numpy as np
import pytest

from xmodal.listening.segmentation import Cutting, Segment, Segmenter

RATE = 16_000


def tone(seconds: float, level: float = -20.0, rate: int = RATE) -> np.ndarray:
    """Four syllables a second, of this level in dB of full scale, 25 dB fainter in the last fifth of each."""
    t = np.arange(round(seconds * rate)) / rate
    loudness = np.where(t * 4 % 1 < 0.8, level, level - 25)
    return (np.sqrt(2) * 10 ** (loudness / 20) * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def silence(seconds: float, level: float | None = None, rate: int = RATE) -> np.ndarray:
    """Nothing, or white noise of this level."""
    n = round(seconds * rate)
    if level is None:
        return np.zeros(n, np.float32)
    return (10 ** (level / 20) * np.random.default_rng(0).standard_normal(n)).astype(np.float32)


def cut(wave: np.ndarray, rate: int = RATE, block: int = 4000, cutting: Cutting | None = None) -> list[Segment]:
    segmenter = Segmenter(rate, cutting)
    found = [s for at in range(0, len(wave), block) for s in segmenter.push(wave[at : at + block])]
    return [*found, *segmenter.finish()]


@pytest.mark.parametrize("noise", [None, -60.0, -45.0])
def test_two_words_between_pauses_are_two_segments(noise: float | None) -> None:
    wave = np.concatenate([silence(2, noise), tone(0.8), silence(1, noise), tone(0.4), silence(1, noise)])
    one, two = cut(wave)
    assert (one.start, one.end) == pytest.approx((2 - 0.2, 2.8 + 0.2), abs=0.03)
    assert (two.start, two.end) == pytest.approx((3.8 - 0.2, 4.2 + 0.2), abs=0.03)
    np.testing.assert_array_equal(one.samples, wave[round(one.start * RATE) : round(one.end * RATE)])
    assert not one.split
    assert not two.split


def test_a_pause_shorter_than_the_pause_does_not_part() -> None:
    wave = np.concatenate([silence(1), tone(0.5), silence(0.4), tone(0.5), silence(1)])
    [whole] = cut(wave)
    assert (whole.start, whole.end) == pytest.approx((0.8, 2.6), abs=0.03)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 192_000])
def test_blocks_make_no_difference_whatever_the_rate(rate: int) -> None:
    parts = [silence(1, -50, rate), tone(0.7, -18, rate), silence(0.9, -50, rate), tone(1.1, -25, rate)]
    wave = np.concatenate(parts)
    whole = cut(wave, rate, len(wave))
    assert len(whole) == 2
    for block in (rate // 10, 777, rate):
        found = cut(wave, rate, block)
        assert [(s.start, s.end, s.split) for s in found] == [(s.start, s.end, s.split) for s in whole]
        for one, other in zip(found, whole, strict=True):
            np.testing.assert_array_equal(one.samples, other.samples)


def test_speech_from_the_first_sample_and_to_the_last_is_heard() -> None:
    [whole] = cut(tone(1.5))
    assert whole.start == 0
    assert whole.end == pytest.approx(1.5, abs=0.06)


def test_what_is_too_long_is_cut_at_its_quietest_moment_and_nothing_is_lost() -> None:
    wave = np.concatenate([silence(0.5), tone(4.2), silence(0.1), tone(3.0), silence(1)])
    one, two = cut(wave, cutting=Cutting(longest=6))
    assert one.split
    assert not two.split
    assert one.end == two.start == pytest.approx(0.5 + 4.2, abs=0.05)
    assert two.end == pytest.approx(7.8 + 0.2, abs=0.06)


def test_steady_noise_is_taken_for_noise_after_a_second() -> None:
    wave = silence(20, -30)
    found = cut(wave)
    assert sum(s.end - s.start for s in found) < 2
    assert cut(np.concatenate([wave, tone(1, -10), wave]))[-1].start == pytest.approx(19.8, abs=0.05)


def test_a_click_is_passed_over_and_silence_is_nothing() -> None:
    segmenter = Segmenter(RATE)
    wave = np.concatenate([silence(1), tone(0.1), silence(1)])
    assert [*segmenter.push(wave), *segmenter.finish()] == []
    assert segmenter.passed_over == 1
    silent = Segmenter(RATE)
    assert [*silent.push(silence(5)), *silent.finish()] == []
    assert silent.passed_over == 0
    assert silent.loudest == pytest.approx(-120)


def test_an_hour_holds_no_more_memory_than_a_segment() -> None:
    segmenter = Segmenter(8_000)
    wave = np.concatenate([tone(0.5, rate=8_000), silence(1.5, -50, 8_000)])
    most = 0
    for _ in range(200):
        segmenter.push(wave)
        most = max(most, len(segmenter._held))
    assert most < 8_000
