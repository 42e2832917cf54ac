"""The three ways of bench_chunks.py do the same work, so that their times and memory may be compared."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("bench_chunks", FOLDER / "bench_chunks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("measure", None)  # benchmarks are scripts, not packages: leave no name behind


@pytest.mark.parametrize("size", [3, 4, 9])
def test_all_ways_leave_the_gradients_of_the_whole_batch(bench, size):
    """Less than a chunk, one chunk, and a ragged last one."""
    batch = bench.pairs(size)
    whole = bench.gradients("whole", 4, batch)
    assert "terms.objective.log_scale" in whole
    for way in ("chunk", "gradcache"):
        assert bench.largest_difference(bench.gradients(way, 4, batch), whole) < 1e-5


def test_no_more_than_a_chunk_is_encoded_at_a_time(bench):
    batch, seen = bench.pairs(9), {}
    for way in bench.WAYS:
        model, step = bench.step_of(way, 4, batch)
        sizes = seen.setdefault(way, [])
        model.tower("speech").backbone.register_forward_pre_hook(
            lambda _, x, sizes=sizes: sizes.append(len(x[0]["lengths"]))
        )
        step()
    assert seen["whole"] == [9]
    assert sorted(seen["chunk"]) == sorted(seen["gradcache"]) == [1, 1, 4, 4, 4, 4]  # each chunk twice


def test_a_difference_is_seen_also_in_a_small_gradient(bench):
    expected = {"large": torch.tensor([100.0, 0.0]), "small": torch.tensor([0.1])}
    found = {"large": torch.tensor([100.0, 0.0]), "small": torch.tensor([0.1001])}
    assert bench.largest_difference(found, expected) == pytest.approx(1e-3, rel=1e-3)
