"""Sequences of several lengths: put together in one batch, encoded apart, averaged; each against a loop."""

import numpy as np
import pytest
import torch
from torch import Tensor

from xmodal.towers.frames import Frames, all_of, by_length, mean_of, one_batch, padded
from xmodal.towers.waveforms import padded_waves

LENGTHS = [3, 5, 1, 5, 3, 5, 2]


@pytest.fixture
def rows() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((length, 4)).astype(np.float32) for length in LENGTHS]


@pytest.mark.parametrize("most", [None, 1, 2])
def test_items_of_one_length_are_encoded_together_and_stay_in_order(rows: list[np.ndarray], most: int | None) -> None:
    frames, seen = padded(rows), list[tuple[int, int]]()

    def encode(positions: Tensor, length: int) -> Frames:
        seen.append((len(positions), length))
        return all_of(2 * frames.values[positions, :length])

    found = by_length(frames.lengths, encode, most)
    assert found.lengths.tolist() == LENGTHS
    for row, steps in zip(rows, found.each(), strict=True):
        np.testing.assert_array_equal(steps, 2 * row)
    assert not found.values[~found.mask()].any()
    assert max(count for count, _ in seen) == (most or LENGTHS.count(5))
    assert len({length for _, length in seen}) == len(set(LENGTHS))


def test_what_does_not_count_is_not_in_the_mean(rows: list[np.ndarray]) -> None:
    frames = padded(rows)
    values = frames.values.masked_fill(~frames.mask()[..., None], float("nan"))
    expected = np.stack([row.mean(0) for row in rows])
    np.testing.assert_allclose(mean_of(Frames(values, frames.lengths)), expected, rtol=1e-6)


def test_batches_of_several_lengths_become_one() -> None:
    found = one_batch([torch.ones(2, 3, 4), torch.ones(1, 5, 4)])
    assert found.shape == (3, 5, 4)
    assert found.sum(dim=(1, 2)).tolist() == [12, 12, 20]


def test_silence_follows_a_shorter_wave() -> None:
    waves = [np.array([1, 2, 3], np.float32), np.array([4], np.float32)]
    waves[1].flags.writeable = False  # as a memory map is
    found = padded_waves(waves)
    assert found["values"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert found["lengths"].tolist() == [3, 1]
