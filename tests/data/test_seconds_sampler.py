"""Batches of at most so many seconds: against plain loops over the lengths."""

import itertools

import numpy as np
import pytest

from xmodal.data.sampler import BatchKey, BucketSampler
from xmodal.data.seconds_sampler import SecondsSampler
from xmodal.errors import UserError

LENGTHS = np.random.default_rng(3).gamma(3.0, 1.0, 1_037)  # 0.1 to 14 s


def sampler(seconds: float = 60, buckets: int = 4, rank: int = 0, world: int = 1, seed: int = 1) -> SecondsSampler:
    return SecondsSampler(LENGTHS, seconds, seed=seed, buckets=buckets, rank=rank, world=world)


def take(source: SecondsSampler, count: int, start: int = 0) -> list[BatchKey]:
    return list(itertools.islice(source.iterate_from(start), count))


@pytest.mark.parametrize("buckets", [0, 1, 4, 100])
@pytest.mark.parametrize("seconds", [15, 60, 1e9])
def test_every_item_once_an_epoch_and_never_more_seconds(buckets: int, seconds: float) -> None:
    source = sampler(seconds, buckets)
    for number in range(3):
        batches = source.epoch(number)
        rows = np.concatenate(batches)
        alone = set(range(len(LENGTHS))) - set(rows.tolist())
        assert len(set(rows.tolist())) == len(rows)
        assert len(alone) <= 1
        assert all(sum(LENGTHS[batch].tolist()) <= seconds for batch in batches)
        assert all(len(batch) > 1 for batch in batches)


def test_batches_are_full() -> None:
    source = sampler(60, buckets=16)
    totals = [LENGTHS[batch].sum() for batch in source.epoch(0)]
    assert sum(total < 50 for total in totals) <= 1  # the last one
    assert len(totals) <= 1.1 * LENGTHS.sum() / 60


def test_bucketing_saves_padding() -> None:
    def padded(buckets: int) -> float:
        batches = sampler(60, buckets).epoch(0)
        return sum(len(b) * LENGTHS[b].max() - LENGTHS[b].sum() for b in batches) / LENGTHS.sum()

    assert padded(16) < 0.2 * padded(0)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def flat(source: SecondsSampler, number: int) -> list[int]:
        return [int(row) for batch in source.epoch(number) for row in batch]

    assert flat(sampler(), 0) != flat(sampler(), 1)
    assert flat(sampler(), 0) != flat(sampler(seed=2), 0)
    assert flat(sampler(), 3) == flat(sampler(), 3)


@pytest.mark.parametrize("start", [1, 51, 52, 53, 120, 200])
def test_going_on_from_a_step_gives_the_same_batches(start: int) -> None:
    for a, b in zip(take(sampler(), 240)[start:], take(sampler(), 240 - start, start), strict=True):
        assert a.epoch == b.epoch
        np.testing.assert_array_equal(a.indices, b.indices)


@pytest.mark.parametrize("world", [2, 3, 64])
def test_the_processes_together_have_the_batches_of_one(world: int) -> None:
    one = take(sampler(), 60)
    parts = [take(sampler(rank=rank, world=world), 60) for rank in range(world)]
    for step, key in enumerate(one):
        np.testing.assert_array_equal(np.concatenate([part[step].indices for part in parts]), key.indices)
        assert {part[step].epoch for part in parts} == {key.epoch}
        sizes = [len(part[step].indices) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 130), (3, 3), (40, 60), (51, 53), (100, 101)])
def test_pairs_are_those_of_the_batches(first: int, last: int) -> None:
    assert sampler().pairs(first, last) == sum(len(key.indices) for key in take(sampler(), last)[first:])


def test_items_that_are_too_long_are_told() -> None:
    source = SecondsSampler(np.array([1.0, 2.0, 2.001, 9.0, 0.5, 0.5]), 2, seed=0, buckets=1)
    assert source.too_long.tolist() == [2, 3]
    assert [sorted(batch.tolist()) for batch in source.epoch(0)] == [[0, 4, 5]]
    assert source.summary() == (
        "train.batch_seconds=2: 1 batches in the first epoch, 3 to 3 pairs each, median 3; "
        "1 pairs are left out of it, being alone in a batch"
    )


def test_long_items_find_short_ones() -> None:
    lengths = np.array([*[14.0] * 10, *[0.5] * 100])
    for number in range(3):
        batches = SecondsSampler(lengths, 15, seed=0, buckets=16).epoch(number)
        assert sorted(row for batch in batches for row in batch.tolist()) == list(range(110))
        assert all(len(batch) > 1 and lengths[batch].sum() <= 15 for batch in batches)


def test_sums_are_exact() -> None:
    source = SecondsSampler(np.full(30, 0.1), 1.0, seed=0, buckets=0)
    assert [len(batch) for batch in source.epoch(0)] == [10, 10, 10]


@pytest.mark.parametrize("lengths", [[3.0, 4.0], [1.5, 1.5], [9.0]])
def test_no_two_items_fit(lengths: list[float]) -> None:
    with pytest.raises(
        UserError, match=r"batch_seconds: 2, but no two of \d items fit into that \(the shortest: [\d.]+ s"
    ):
        SecondsSampler(np.array(lengths), 2, seed=0, buckets=16)


def test_the_epoch_of_a_step_is_that_of_its_batch() -> None:
    source = sampler(600)
    assert [source.epoch_of(step) for step in range(20)] == [key.epoch for key in take(source, 20)]
    by_size = BucketSampler(LENGTHS, 200, seed=0, buckets=2)
    keys = itertools.islice(by_size.iterate_from(0), 20)
    assert [by_size.epoch_of(step) for step in range(20)] == [key.epoch for key in keys]
