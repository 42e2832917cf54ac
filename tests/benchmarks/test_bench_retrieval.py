"""The benchmark of retrieval in its quick mode: it checks the recalls against CLIP_benchmark's by itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_retrieval.py"


def test_quick_mode_measures_time_and_memory() -> None:
    pytest.importorskip("clip_benchmark")
    done = subprocess.run([sys.executable, str(PATH), "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["captions"], found["images"]) == (500, 100)
    assert found["retrieval_seconds"] > 0
    assert 0 < found["retrieval_over_clip_benchmark"] < 1
    assert 0 <= found["retrieval_bytes"] < 50e6
