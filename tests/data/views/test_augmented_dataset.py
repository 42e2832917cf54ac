"""Augmentation depends on seed, epoch and row alone: not on the cache, on workers, or on processes."""

import itertools

import numpy as np
import pytest
import torch
from speech_pairs import build, cached, key, make, same, speech
from torch.utils.data import DataLoader

from xmodal.config.augment.audio import SpeechAugment
from xmodal.data.sampler import BucketSampler

AUGMENT = SpeechAugment(frequency_masks=2, frequency_width=3, time_masks=1, noise=0.2, speed=0.2)


def test_augmentation_depends_on_seed_epoch_and_row_alone(tmp_path):
    path = make(tmp_path)
    dataset = build(path, speech(AUGMENT))
    batch = dataset[key(3, 8)]
    same(batch, dataset[key(3, 8)])  # from the cache
    same(batch, build(path, speech(AUGMENT), cache_mb=0)[key(3, 8)])
    values = {name: b.inputs["speech"]["values"] for name, b in {
        "whole": batch,
        "alone": dataset[key(8)],
        "epoch": dataset[key(3, 8, epoch=1)],
        "seed": build(path, speech(AUGMENT), seed=1)[key(3, 8)],
    }.items()}  # fmt: skip
    frames = values["alone"].shape[1]
    torch.testing.assert_close(values["whole"][1, :frames], values["alone"][0], rtol=0, atol=0)
    for other in ("epoch", "seed"):
        a, b = values["whole"], values[other]
        assert a.shape != b.shape or not torch.equal(a, b)


def test_augmentation_does_not_depend_on_which_items_were_skipped(tmp_path):
    whole = build(make(tmp_path), speech(AUGMENT))[key(8)]
    fewer = build(make(tmp_path, broken={2: "junk"}), speech(AUGMENT), max_bad=0.1)[key(7)]
    same(whole, fewer)


def test_augmentation_is_for_training_and_leaves_the_cache_alone(tmp_path):
    path = make(tmp_path)
    plain = build(path)[key(3, 8)]
    same(plain, build(path, speech(AUGMENT), train=False)[key(3, 8)])
    dataset = build(path, speech(AUGMENT))
    before = [f.copy() for f in (dataset[key(3)], cached(dataset))[1].values()]
    for epoch in range(3):
        assert dataset[key(3, epoch=epoch)].inputs["speech"]["values"].dtype == torch.float32
    assert all(np.array_equal(a, b) for a, b in zip(before, cached(dataset).values(), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_gives_the_sampled_batches(tmp_path, workers):
    dataset = build(make(tmp_path, broken={4: "nan"}), speech(AUGMENT))
    sampler = BucketSampler(dataset.lengths, batch_size=6, seed=3, buckets=2)
    loader = DataLoader(dataset, sampler=sampler.iterate_from(2), batch_size=None, num_workers=workers)
    batches = list(itertools.islice(loader, 6))
    assert len(batches) == 6
    for batch, expected in zip(batches, itertools.islice(sampler.iterate_from(2), 6), strict=True):
        same(batch, dataset[expected])


def test_two_processes_together_hold_the_batch_of_one(tmp_path):
    dataset = build(make(tmp_path), speech(AUGMENT))
    whole = next(BucketSampler(dataset.lengths, 7, seed=0, buckets=2).iterate_from(4))
    parts = [next(BucketSampler(dataset.lengths, 7, 0, 2, rank, 2).iterate_from(4)) for rank in range(2)]
    one, (first, second) = dataset[whole], (dataset[part] for part in parts)
    assert one.names == first.names + second.names
    for row in range(7):
        part, local = (first, row) if row < len(first) else (second, row - len(first))
        length = one.inputs["speech"]["lengths"][row]
        torch.testing.assert_close(
            one.inputs["speech"]["values"][row, :length], part.inputs["speech"]["values"][local, :length]
        )
