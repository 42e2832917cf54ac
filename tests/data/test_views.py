import numpy as np
import pytest

from xmodal.config.data import SpeechAugment
from xmodal.data.views import augment, is_active

ONE_EACH = {
    "frequency_masks": 2,
    "time_masks": 2,
    "mel_roll": 3,
    "mel_warp": 0.2,
    "speed": 0.2,
    "floor": 0.5,
    "tilt": 1.0,
    "noise": 0.3,
}


def features(frames=200, bins=64):
    return np.random.default_rng(5).standard_normal((frames, bins)).astype(np.float32)


def views(x, count=200, **amounts):
    return [augment(x, SpeechAugment(**amounts), np.random.default_rng((0, n))) for n in range(count)]


def test_all_zeros_returns_the_input():
    x = features()
    assert augment(x, SpeechAugment(), np.random.default_rng(0)) is x
    assert not is_active(SpeechAugment(frequency_masks=2, frequency_width=0, time_masks=2, time_share=0))


@pytest.mark.parametrize("name", [*ONE_EACH, "all"])
def test_a_view_is_new_float32_and_a_function_of_the_generator(name):
    amounts = ONE_EACH if name == "all" else {name: ONE_EACH[name]}
    assert is_active(SpeechAugment(**amounts))
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
    """A straight line over time tells the factor; other features must be read at the same times."""
    x = features(100, 4)
    x[:, 0] = np.arange(100)
    lengths = []
    for view in views(x, 100, speed=0.2):
        factor = view[1, 0]  # the time of the second frame
        assert 1 / 1.2 - 1e-5 <= factor <= 1.2 + 1e-5
        assert len(view) == max(1, round(100 / factor))
        expected = [np.interp(np.arange(len(view)) * factor, np.arange(100), x[:, f]) for f in range(4)]
        np.testing.assert_allclose(view, np.stack(expected, axis=1), atol=1e-3)
        lengths.append(len(view))
    assert 83 <= min(lengths) < 88
    assert 114 < max(lengths) <= 120


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
