"""Neighbouring windows of a recording as its views."""

import numpy as np
import pytest
import soundfile
import torch
from processors import RATE, Waves
from pydantic import ValidationError
from scipy import stats
from torch.utils.data import DataLoader

from xmodal.config.augment.audio import WaveformAugment, Windows
from xmodal.config.data import AudioModality, DataSpec
from xmodal.data.dataset import PairDataset
from xmodal.data.sampler import BatchKey, BucketSampler
from xmodal.data.views.waveform import voice
from xmodal.data.views.windows import cut
from xmodal.files import write_json_lines

COUNT = 12


def generators(seed, views=2):
    return [np.random.default_rng((seed, view)) for view in range(views)]


def test_windows_follow_each_other_after_the_gap():
    wave = np.arange(1000, dtype=np.float32)
    firsts = []
    for seed in range(400):
        found = cut(wave, Windows(seconds=0.1, gap=0.05), 1000, generators(seed, 3))
        starts = [int(window[0]) for window in found]
        assert np.diff(starts).tolist() == [150, 150]
        for start, window in zip(starts, found, strict=True):
            np.testing.assert_array_equal(window, np.arange(start, start + 100))
        firsts.append(starts[0])
    assert max(firsts) <= 600  # 1000 - (3 * 100 + 2 * 50)
    assert stats.kstest(firsts, stats.randint(0, 601).cdf).pvalue > 0.01


def test_a_recording_that_just_fits_and_one_that_does_not():
    fits, short = np.arange(200, dtype=np.float32), np.arange(199, dtype=np.float32)
    one, two = cut(fits, Windows(seconds=0.1), 1000, generators(0))
    np.testing.assert_array_equal(np.concatenate([one, two]), fits)
    assert all(window is short for window in cut(short, Windows(seconds=0.1), 1000, generators(0)))
    [alone] = cut(fits, Windows(seconds=0.1), 1000, [None])
    assert alone is fits  # evaluation hears all of it


@pytest.fixture
def manifest(tmp_path):
    """Recordings of 0.1, 0.2, ... 1.2 s."""
    rows = []
    for n in range(COUNT):
        soundfile.write(tmp_path / f"{n}.wav", waves(n), RATE, subtype="FLOAT")
        rows.append({"id": f"p{n}", "speech": f"{n}.wav"})
    write_json_lines(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def waves(n):
    return np.random.default_rng(n).standard_normal((n + 1) * RATE // 10).astype(np.float32)


def build(path, train=True, views=2, **spec):
    spec = AudioModality(windows=Windows(seconds=0.2, gap=0.1), training_views=views, **spec)
    return PairDataset(DataSpec(train=path), {"speech": spec}, {"speech": Waves()}, 3, train)


def test_a_batch_has_the_windows_of_seed_epoch_and_row_each_voiced_by_itself(manifest):
    voicing = WaveformAugment(gain=6)
    dataset = build(manifest, waveform=voicing)
    batch = dataset[BatchKey(5, np.array([6, 11]))]
    for row, n in enumerate((6, 11)):
        rngs = [np.random.default_rng(key) for key in ((3, 5, n, 0), (3, 5, n, 0, 1))]
        start = int(rngs[0].integers(len(waves(n)) - RATE // 2, endpoint=True))
        for view, rng in enumerate(rngs):
            at = start + view * 3 * RATE // 10
            want = voice(waves(n)[at : at + RATE // 5], voicing, RATE, rng)
            np.testing.assert_array_equal(batch.view("speech", view)["waves"][row].numpy(), want)
    short = dataset[BatchKey(0, np.array([2]))]
    assert short.view("speech", 0)["waves"].shape == short.view("speech", 1)["waves"].shape == (1, 3 * RATE // 10)
    whole = build(manifest, train=False)[BatchKey(0, np.array([11]))]
    np.testing.assert_array_equal(whole.inputs["speech"]["waves"][0].numpy(), waves(11))


def test_recordings_that_are_too_short_are_counted_and_lengths_are_those_of_windows(manifest):
    dataset = build(manifest)
    assert dataset.lengths.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, *[0.2] * 8])
    [note] = dataset.tally.notes
    assert note == (
        "speech: 4 of 12 recordings are shorter than the 0.5 s of 2 windows: each of their views is the whole recording"
    )


def test_windows_depend_neither_on_processes_nor_on_workers_nor_on_where_training_began(manifest):
    dataset = build(manifest)

    def batches(step, rank=0, world=1, workers=0):
        sampler = BucketSampler(dataset.lengths, 4, 3, 0, rank, world)
        loader = DataLoader(dataset, sampler=sampler.iterate_from(step), batch_size=None, num_workers=workers)
        return [batch for batch, _ in zip(loader, range(5 - step), strict=False)]

    whole = batches(0)
    for one, other in zip(whole[3:], batches(3, workers=2), strict=True):
        torch.testing.assert_close([one.inputs, one.views], [other.inputs, other.views], rtol=0, atol=0)
    for batch, *parts in zip(whole, batches(0, 0, 2), batches(0, 1, 2), strict=True):
        for view in range(2):
            rows = [row for part in parts for row in part.view("speech", view)["waves"]]
            for found, wanted in zip(rows, batch.view("speech", view)["waves"], strict=True):
                width = min(len(found), len(wanted))
                assert torch.equal(found[:width], wanted[:width])


def test_windows_that_no_recording_holds():
    with pytest.raises(
        ValidationError, match=r"windows: 2 of 1 s need 2 s, and no recording is longer than max_seconds"
    ):
        AudioModality(windows=Windows(seconds=1), training_views=2, max_seconds=1.5)
    with pytest.raises(ValidationError, match="greater than 0"):
        Windows(seconds=0)
    with pytest.raises(ValidationError, match="set augment, or windows"):
        AudioModality(training_views=2)
