import itertools

import numpy as np
import pytest

from xmodal.data.sampler import BatchKey, BucketSampler
from xmodal.errors import UserError

LENGTHS = np.random.default_rng(3).gamma(3.0, 1.0, 1_037)


def take(sampler, count, start=0):
    return list(itertools.islice(sampler.iterate_from(start), count))


@pytest.mark.parametrize("buckets", [0, 1, 4, 100])
def test_an_item_occurs_at_most_once_in_an_epoch(buckets):
    sampler = BucketSampler(LENGTHS, 32, seed=1, buckets=buckets)
    assert sampler.steps_per_epoch == 32
    for epoch, keys in itertools.groupby(take(sampler, 96), key=lambda key: key.epoch):
        rows = np.concatenate([key.indices for key in keys])
        assert len(rows) == len(set(rows)) == 1_024, epoch
        assert rows.min() >= 0
        assert rows.max() < len(LENGTHS)


def test_epochs_and_seeds_differ_and_repeat():
    one = BucketSampler(LENGTHS, 32, seed=1, buckets=4)
    assert not np.array_equal(one.epoch(0), one.epoch(1))
    assert not np.array_equal(one.epoch(0), BucketSampler(LENGTHS, 32, seed=2, buckets=4).epoch(0))
    np.testing.assert_array_equal(one.epoch(3), BucketSampler(LENGTHS, 32, seed=1, buckets=4).epoch(3))


@pytest.mark.parametrize("start", [1, 31, 32, 33, 70])
def test_going_on_from_a_step_gives_the_same_batches(start):
    sampler = BucketSampler(LENGTHS, 32, seed=1, buckets=4)
    for a, b in zip(take(sampler, 80)[start:], take(sampler, 80 - start, start), strict=True):
        assert a.epoch == b.epoch
        np.testing.assert_array_equal(a.indices, b.indices)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_processes_together_have_the_batches_of_one(world):
    one = take(BucketSampler(LENGTHS, 32, seed=1, buckets=4), 40)
    parts = [take(BucketSampler(LENGTHS, 32, 1, 4, rank, world), 40) for rank in range(world)]
    for step, key in enumerate(one):
        np.testing.assert_array_equal(np.concatenate([part[step].indices for part in parts]), key.indices)
        assert {part[step].epoch for part in parts} == {key.epoch}
    sizes = [len(part[0].indices) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_bucketing_saves_padding():
    def padded(buckets):
        batches = LENGTHS[BucketSampler(LENGTHS, 32, seed=1, buckets=buckets).epoch(0)]
        return (batches.max(axis=1, keepdims=True) - batches).sum() / batches.sum()

    assert padded(16) < 0.15 * padded(0)
    assert padded(4) < 0.5 * padded(0)


def test_buckets_sort_only_inside_their_chunk_and_batches_come_in_random_order():
    batches = LENGTHS[BucketSampler(LENGTHS, 32, seed=1, buckets=32).epoch(0)]
    ranges = sorted((b.min(), b.max()) for b in batches)  # one chunk: batches do not overlap in length
    assert all(low >= high for (_, high), (low, _) in itertools.pairwise(ranges))
    means = batches.mean(axis=1)
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


def test_the_items_dropped_are_random_not_the_longest():
    sampler = BucketSampler(LENGTHS, 32, seed=1, buckets=4)
    dropped = [row for e in range(60) for row in np.setdiff1d(np.arange(len(LENGTHS)), sampler.epoch(e))]
    assert LENGTHS[dropped].mean() == pytest.approx(LENGTHS.mean(), rel=0.1)


def test_equal_lengths_are_still_shuffled():
    sampler = BucketSampler(np.ones(64), 32, seed=0, buckets=16)
    assert not np.array_equal(np.sort(sampler.epoch(0)[0]), np.sort(sampler.epoch(1)[0]))


def test_exactly_one_batch_of_data_is_enough():
    keys = take(BucketSampler(np.ones(8), 8, seed=0, buckets=16), 3)
    assert [key.epoch for key in keys] == [0, 1, 2]
    assert all(isinstance(key, BatchKey) and sorted(key.indices) == list(range(8)) for key in keys)


def test_a_batch_larger_than_the_data():
    with pytest.raises(UserError, match=r"train\.batch_size: 64 pairs, but the data has 10; set train\.batch_size=10"):
        BucketSampler(np.ones(10), 64, seed=0, buckets=16)
    with pytest.raises(UserError, match="2 pairs for 3 processes"):
        BucketSampler(np.ones(10), 2, seed=0, buckets=16, world=3)
