"""Batches with hard negatives: what is mined, how often each pair is seen, that nothing but (seed, epoch) counts."""

import itertools

import numpy as np
import pytest

from xmodal.data.hard.hard_sampler import HardSampler
from xmodal.data.hard.nearest import Allowed, exact_neighbours
from xmodal.data.sampler import BatchKey, BucketSampler
from xmodal.errors import UserError

N, M, K, B = 500, 180, 12, 24
RNG = np.random.default_rng(2)
OF_PAIR = np.concatenate([np.arange(M), RNG.integers(0, M, N - M)])  # items, some of them in several pairs
GROUPS = np.where(np.arange(M) % 5 == 0, np.arange(M) // 5 % 7, np.arange(M) + 100)  # some items of one group
FEATURES = RNG.standard_normal((M, 4))
FEATURES = (FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)).astype(np.float32)
LISTS = exact_neighbours(FEATURES, Allowed(GROUPS), K)


def sampler(share: float = 0.5, rank: int = 0, world: int = 1, seed: int = 1) -> HardSampler:
    return HardSampler(OF_PAIR, GROUPS, LISTS, share, B, seed, rank, world)


def take(source: BucketSampler, count: int, start: int = 0) -> list[BatchKey]:
    return list(itertools.islice(source.iterate_from(start), count))


def mined_in(batch: list[int], drawn: int) -> int:
    """How many pairs of a batch are mined: each near one before it, and of another group than all before it."""
    for at in range(drawn, len(batch)):
        own, before = OF_PAIR[batch[at]], OF_PAIR[batch[:at]]
        if own not in LISTS[before] or GROUPS[own] in GROUPS[before]:
            return at - drawn
    return len(batch) - drawn


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.9])
def test_every_pair_at_most_once_an_epoch_and_all_but_the_rest(share: float) -> None:
    source = sampler(share)
    assert source.steps_per_epoch == N // B
    for epoch in range(3):
        rows = source.epoch(epoch)
        assert rows.shape == (N // B, B)
        assert len(set(rows.ravel().tolist())) == N // B * B


def test_what_is_left_out_of_an_epoch_is_drawn() -> None:
    out = [set(range(N)) - set(sampler().epoch(epoch).ravel().tolist()) for epoch in range(40)]
    assert all(len(rows) == N % B for rows in out)
    assert len(set().union(*out)) > 0.75 * N  # 40 times 20 of 500


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_share_of_each_batch_is_near_and_no_positive_of_the_rest(share: float) -> None:
    source = sampler(share)
    counted = [mined_in(batch.tolist(), B - round(share * B)) for batch in source.epoch(0)]
    assert max(counted) == round(share * B)
    found = sum(counted) / (N // B * B)
    assert found > 0.7 * share  # fewer at the end of an epoch
    assert f"share {share:g} asked, and {found:.3f} of the pairs of the first epoch" in source.summary()


def written_out(order: list[int], share: float) -> list[list[int]]:
    """An epoch as the docstring tells it, with lists that are searched from the start each time."""
    left, batches = list(order), []
    while left:
        batch = [left.pop(0) for _ in range(B - round(share * B))]
        turns = list(batch)  # who brings next
        while turns and len(batch) < B:
            anchor = turns.pop(0)
            groups = {GROUPS[OF_PAIR[pair]] for pair in batch}
            near = [item for item in LISTS[OF_PAIR[anchor]] if item >= 0 and GROUPS[item] not in groups]
            brought = [pair for item in near for pair in left if OF_PAIR[pair] == item]
            if brought:
                left.remove(brought[0])
                batch.append(brought[0])
                turns += [anchor, brought[0]]
        batches.append(batch + [left.pop(0) for _ in range(B - len(batch))])
    return batches


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_an_epoch_is_what_the_docstring_says(share: float) -> None:
    rng = np.random.default_rng((1, 5))
    order = rng.permutation(N)[: N // B * B]
    expected = rng.permutation(np.array(written_out(order.tolist(), share)))
    np.testing.assert_array_equal(sampler(share).epoch(5), expected)


def test_share_zero_is_the_shuffled_sampler() -> None:
    for epoch in range(3):
        shuffled = BucketSampler(np.zeros(N), B, seed=1, buckets=0).epoch(epoch)
        np.testing.assert_array_equal(sampler(0).epoch(epoch), shuffled)


def test_equal_items_never_meet_through_mining() -> None:
    """All pairs hold one of two items, near each other: one pair of the other item is all that can be brought."""
    source = HardSampler(np.arange(40) % 2, np.arange(2), np.array([[1], [0]]), 0.75, 8, seed=0)
    batches = source.epoch(0).tolist()
    alike = sum(batch[0] % 2 == batch[1] % 2 for batch in batches)  # there the other item is brought, once
    assert f"share 0.75 asked, and {alike / 40:.3f} of" in source.summary()


def test_epochs_and_seeds_differ_and_repeat() -> None:
    assert not np.array_equal(sampler().epoch(0), sampler().epoch(1))
    assert not np.array_equal(sampler().epoch(0), sampler(seed=2).epoch(0))
    np.testing.assert_array_equal(sampler().epoch(3), sampler().epoch(3))


@pytest.mark.parametrize("start", [1, 19, 20, 21, 50])
def test_going_on_from_a_step_gives_the_same_batches(start: int) -> None:
    for a, b in zip(take(sampler(), 64)[start:], take(sampler(), 64 - start, start), strict=True):
        assert a.epoch == b.epoch
        np.testing.assert_array_equal(a.indices, b.indices)


@pytest.mark.parametrize("world", [2, 3, 24])
def test_the_processes_together_have_the_batches_of_one(world: int) -> None:
    one = take(sampler(), 30)
    parts = [take(sampler(rank=rank, world=world), 30) for rank in range(world)]
    for step, key in enumerate(one):
        np.testing.assert_array_equal(np.concatenate([part[step].indices for part in parts]), key.indices)
        assert {part[step].epoch for part in parts} == {key.epoch}


def test_a_batch_larger_than_the_data() -> None:
    with pytest.raises(UserError, match=r"train\.batch_size: 600 pairs, but the data has 500"):
        HardSampler(OF_PAIR, GROUPS, LISTS, 0.5, 600, seed=0)
