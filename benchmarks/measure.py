"""How the benchmarks measure: in turns within one process for time, in a fresh process each for memory."""

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def seconds_in_turns(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every work, each once a round and one after the other, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:
                times[name].append(time.perf_counter() - start)
    return times


def table(times: Mapping[str, list[float]], unit: float = 1e3, label: str = "ms") -> str:
    """Median and quartiles of every work, a line each."""
    width = max(map(len, times)) + 2
    lines = [f"{'':{width}}{'median ' + label:>12}{'quartiles':>24}"]
    for name, values in times.items():
        low, median, high = (unit * x for x in np.percentile(values, [25, 50, 75]))
        lines.append(f"{name:{width}}{median:12.3f}{low:12.3f}{high:12.3f}")
    return "\n".join(lines)


def ratio(times: Mapping[str, list[float]], work: str, baseline: str) -> float:
    """Median of the rounds' ratios work / baseline: what slows a whole round cancels."""
    return round(statistics.median(a / b for a, b in zip(times[work], times[baseline], strict=True)), 4)


def last_line(
    script: str,
    *arguments: str,
    seconds: float | None = None,
    python: str = sys.executable,
    checkout: Path | None = None,
) -> str:
    """What `python SCRIPT ARGUMENTS` prints last, from a process of its own that has `seconds`.

    Args:
        python: the interpreter, with its packages.
        checkout: run in this folder, with its xmodal; default: as this process.

    Raises:
        RuntimeError: it failed, or took longer.
    """
    command = [python, script, *arguments]
    environment = None if checkout is None else {**os.environ, "PYTHONPATH": str(checkout)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds, cwd=checkout, env=environment
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took longer than {seconds:.0f} s") from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout.splitlines()[-1]


def peak_bytes(script: str, *arguments: str) -> int:
    """The same for what prints a number of bytes."""
    return int(last_line(script, *arguments))


def bytes_over(work: Callable[[], Any], device: str = DEVICE) -> int:
    """Peak memory of `work` over what this process holds before it: of the card, or resident."""
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _resident("VmHWM")
    work()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return 1024 * int(line.split()[1])


def machine(device: str = DEVICE) -> dict[str, str]:
    """Where the numbers come from."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return {"machine": f"{platform.system()} {name}, {torch.get_num_threads()} threads", "torch": torch.__version__}


def finish(result: Mapping[str, Any]) -> None:
    """Print the result as one JSON object, the last line."""
    print(json.dumps(dict(result)))
