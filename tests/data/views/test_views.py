import sys
from collections.abc import Callable
from types import FrameType

import numpy as np
import pytest
from scipy import stats

from xmodal.config.augment.audio import SpeechAugment
from xmodal.data.views.log_mel import augment

ONE_EACH = {
    "frequency_masks": 2,
    "time_masks": 2,
    "mel_roll": 3,
    "mel_warp": 0.2,
    "speed": 0.2,
    "floor": 0.5,
    "tilt": 1.0,
    "time_shift": 0.2,
    "noise": 0.3,
}


def features(frames=200, bins=64):
    return np.random.default_rng(5).standard_normal((frames, bins)).astype(np.float32)


def views(x, count=200, **amounts):
    return [augment(x, SpeechAugment(**amounts), np.random.default_rng((0, n))) for n in range(count)]


def test_all_zeros_returns_the_input():
    x = features()
    assert augment(x, SpeechAugment(), np.random.default_rng(0)) is x
    assert not SpeechAugment(frequency_masks=2, frequency_width=0, time_masks=2, time_share=0).is_active


@pytest.mark.parametrize("name", [*ONE_EACH, "all"])
def test_a_view_is_new_float32_and_a_function_of_the_generator(name):
    amounts = ONE_EACH if name == "all" else {name: ONE_EACH[name]}
    assert SpeechAugment(**amounts).is_active
    x = features()
    before = x.copy()
    first, again, other = (augment(x, SpeechAugment(**amounts), np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert first.flags.c_contiguous
    assert first.shape[1] == 64
    assert first.shape != other.shape or not np.array_equal(first, other)
    half = augment(x.astype(np.float16), SpeechAugment(**amounts), np.random.default_rng(1))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, first, atol=0.01)


def test_frequency_masks_zero_whole_bands_of_at_most_the_width():
    seen = set()
    for view in views(features() + 10, frequency_masks=1, frequency_width=7):
        masked = np.flatnonzero((view == 0).any(axis=0))
        assert (view[:, masked] == 0).all()
        assert len(masked) <= 7
        assert not len(masked) or masked[-1] - masked[0] + 1 == len(masked)
        seen.add(len(masked))
    assert seen == set(range(8))


def test_time_masks_zero_whole_spans_of_at_most_the_share():
    seen = set()
    for view in views(features(50) + 10, time_masks=2, time_share=0.1):
        masked = np.flatnonzero((view == 0).any(axis=1))
        assert (view[masked] == 0).all()
        seen.add(len(masked))
    assert max(seen) == 10
    assert min(seen) == 0


def test_masks_stay_hidden_under_noise():
    assert all((view == 0).any() for view in views(features(), 20, frequency_masks=20, noise=1.0, tilt=1.0))


def test_floor_hides_what_is_quiet_and_keeps_the_order_of_the_rest():
    x = features()
    hidden = []
    for view in views(x, 50, floor=0.8):
        assert view.mean() == pytest.approx(0, abs=1e-5)
        assert view.std() == pytest.approx(1, abs=1e-3)
        low = view == view.min()
        hidden.append(float(low.mean()))
        slope, _ = np.polyfit(x[~low], view[~low], 1)
        assert np.corrcoef(x[~low], view[~low])[0, 1] == pytest.approx(1, abs=1e-5)
        assert slope > 0.98  # x itself is not quite standardised
        assert x[low].max() <= x[~low].min()
    assert min(hidden) < 0.05
    assert max(hidden) > 0.8


def test_mel_roll_moves_the_bins_and_repeats_the_edge():
    x = features()
    shifts = set()
    for view in views(x, mel_roll=2):
        match = [s for s in range(-2, 3) if np.array_equal(view[:, 2:-2], x[:, 2 - s : 62 - s])]
        assert len(match) == 1
        shifts.add(match[0])
        if match[0] > 0:
            np.testing.assert_array_equal(view[:, 0], x[:, 0])
    assert shifts == {-2, -1, 0, 1, 2}


def test_mel_warp_of_a_ramp_is_the_stretched_ramp():
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32), (9, 64))
    slopes = []
    for view in views(ramp, mel_warp=0.25):
        slope = view[0, 10] / 10
        np.testing.assert_allclose(view[3], np.minimum(np.arange(64) * slope, 63), atol=1e-3)
        slopes.append(slope)
    assert min(slopes) < 0.85
    assert max(slopes) > 1.18
    assert 1 / 1.25 <= min(slopes) <= max(slopes) <= 1.25


def test_speed_is_numpys_linear_interpolation():
    """At a factor that a ramp shows: its view by the same generator is the frames' places."""
    ramp, x = np.arange(100, dtype=np.float32)[:, None], features(100, 4)
    factors = []
    for places, view in zip(views(ramp, speed=0.2), views(x, speed=0.2), strict=True):
        factor = float(places[-2, 0]) / (len(places) - 2)  # the last frame may lie beyond the end
        np.testing.assert_allclose(places[:, 0], np.minimum(np.arange(len(places)) * factor, 99), atol=1e-3)
        assert len(view) == len(places) == round(100 / factor)
        expected = [np.interp(np.arange(len(view)) * factor, np.arange(100), x[:, f]) for f in range(4)]
        np.testing.assert_allclose(view, np.stack(expected, axis=1), atol=1e-3)
        factors.append(factor)
    # slower is as likely as faster: their logarithms are uniform between those of 1 / 1.2 and 1.2
    uniform = stats.kstest(np.log(factors) / np.log(1.2), stats.uniform(-1, 2).cdf)
    assert uniform.pvalue > 0.01
    assert 1 / 1.2001 < min(factors) < 0.85
    assert 1.18 < max(factors) < 1.2001


def test_tilt_is_a_line_of_at_most_the_rise():
    x = features()
    rises = []
    for view in views(x, tilt=0.5):
        line = (view - x)[0]
        np.testing.assert_allclose(line, np.linspace(line[0], line[-1], 64), atol=1e-5)
        assert line[0] == pytest.approx(-line[-1], abs=1e-5)
        rises.append(line[-1] - line[0])
    assert -0.5 <= min(rises) < -0.4
    assert 0.4 < max(rises) <= 0.5


def test_noise_has_a_standard_deviation_of_at_most_the_amount():
    x = features()
    stds = [(view - x).std() for view in views(x, noise=0.3)]
    assert max(stds) < 0.31
    assert np.mean(stds) == pytest.approx(0.15, abs=0.02)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_shortest_features_survive_everything(frames):
    for seed in range(50):
        view = augment(features(frames), SpeechAugment(**{**ONE_EACH, "speed": 1.0}), np.random.default_rng(seed))
        assert view.shape[0] >= 1
        assert np.isfinite(view).all()


def test_no_loop_of_python_runs_over_frames_or_bins():
    """The lines of xmodal that are run are as many for 40 times the numbers."""

    def lines(frames: int, bins: int) -> int:
        count = 0

        def trace(frame: FrameType, event: str, _value: object) -> Callable[..., object]:
            nonlocal count
            # of nothing else: what is collected meanwhile runs lines too
            count += event == "line" and "xmodal/data" in frame.f_code.co_filename
            return trace

        x, rng, before = features(frames, bins), np.random.default_rng(0), sys.gettrace()
        sys.settrace(trace)
        try:
            augment(x, SpeechAugment(**ONE_EACH), rng)
        finally:
            sys.settrace(before)
        return count

    assert 0 < lines(200, 32) == lines(2000, 128)


def test_a_time_shift_moves_frames_and_repeats_the_edge():
    x = np.arange(40, dtype=np.float32)[:, None] + np.zeros((40, 3), np.float32)
    shifts = set()
    for view in views(x, 400, time_shift=0.25):
        assert view.shape == x.shape
        assert (view == view[:, :1]).all()
        by = int(20 - view[20, 0])
        np.testing.assert_array_equal(view[:, 0], np.clip(np.arange(40) - by, 0, 39))
        shifts.add(by)
    assert shifts == set(range(-10, 11))
