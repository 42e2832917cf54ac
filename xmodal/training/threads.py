"""How many CPU threads training takes. More can be several times slower where another process holds a core."""

import os
import time
from collections.abc import Callable

import torch

TRIES = 3  # timings per number of threads; the best counts


def choose_threads(wanted: int | None, processes: int, work: Callable[[], None]) -> int:
    """Set the number of CPU threads and return it.

    Args:
        wanted: the number to take; none: with several processes an equal share of the cores, alone the number with
            which `work` is fastest.
        processes: on this machine.
        work: what to time; it must leave nothing behind.
    """
    cores = os.cpu_count() or 1
    chosen = wanted or (max(1, cores // processes) if processes > 1 else _fastest(cores, work))
    torch.set_num_threads(chosen)
    return chosen


def _fastest(cores: int, work: Callable[[], None]) -> int:
    candidates = [n for n in (1, 2, 4, 8, 16, 32) if n <= cores]
    return min(candidates, key=lambda n: _seconds(n, work)) if len(candidates) > 1 else 1


def _seconds(threads: int, work: Callable[[], None]) -> float:
    torch.set_num_threads(threads)
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
