"""How the benchmarks measure; that each of them runs is in test_scripts.py."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "measure.py"


@pytest.fixture
def measure():
    spec = importlib.util.spec_from_file_location("measure", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_works_take_turns_and_the_first_round_does_not_count(measure):
    calls = []
    times = measure.seconds_in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4
    assert [len(times[name]) for name in "ab"] == [3, 3]


def test_the_ratio_is_the_median_of_the_rounds(measure):
    assert measure.ratio({"a": [1.0, 10.0, 3.0], "b": [2.0, 10.0, 2.0]}, "a", "b") == 1.0


def test_peak_memory_is_over_what_was_held(measure):
    code = f"""
import sys; sys.path.insert(0, {str(PATH.parent)!r})
import measure, numpy as np
old = np.ones(40_000_000 // 8); del old
held = np.ones(20_000_000 // 8)
print(measure.bytes_over(lambda: np.ones(30_000_000 // 8).sum()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 29e6 < int(done.stdout) < 40e6
