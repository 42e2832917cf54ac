"""The robustness benchmark measures what it says: all sizes of subsets, and more templates know more."""

import importlib.util
import json
import sys
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def test_quick(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    threads = torch.get_num_threads()
    spec = importlib.util.spec_from_file_location("bench_robustness", FOLDER / "bench_robustness.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    try:
        script.main(["--quick"])
    finally:
        torch.set_num_threads(threads)
        sys.modules.pop("measure", None)
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert result["subsets"] == 8 + 56 + 1
    assert result["robustness_seconds"] > 0
    assert result["robustness_bytes"] > 1e8  # torch alone is more: the whole process, in bytes
    means = [float(line.split()[-1]) for line in lines if line.startswith("k =")]
    assert means == sorted(means)
    assert means[0] > 2 / 50  # better than chance
