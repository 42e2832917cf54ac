"""How many CPU threads training takes: the physical cores that this process may use, shared by the processes.

Nothing is timed: what a neighbour does at the start of a run must not decide how the run goes on, and two runs that are
compared take the same number.
"""

import math
import os
from collections.abc import Collection
from pathlib import Path

import torch


def choose_threads(wanted: int | None, processes: int) -> int:
    """Set torch's number of CPU threads and return it.

    Args:
        wanted: the number to take; none: an equal share of `usable_cores()`, at least one.
        processes: of this run on this machine.

    Example:
        choose_threads(None, processes=2)  # 4 on a machine of 8 cores
    """
    chosen = wanted or max(1, usable_cores() // processes)
    torch.set_num_threads(chosen)
    return chosen


def usable_cores(allowed: Collection[int] | None = None, root: Path = Path("/")) -> int:
    """Physical cores that this process may use, at least one.

    CPUs that share a core count once: two threads on one core wait for each other in matrix products. A container's CPU
    quota is a limit too; a quota of 2.5 counts as 2. Where the system does not tell (not Linux), every CPU counts.

    Args:
        allowed: numbers of the CPUs; none: those that the scheduler gives this process.
        root: where /proc and /sys lie.
    """
    if allowed is None:
        available = hasattr(os, "sched_getaffinity")  # Linux
        allowed = os.sched_getaffinity(0) if available else range(os.cpu_count() or 1)
    cores = {_core(cpu, root) for cpu in allowed}
    return max(1, math.floor(min(len(cores), _quota(root))))


def _core(cpu: int, root: Path) -> str:
    """The numbers of all CPUs on this CPU's core; its own where the system does not tell."""
    return _text(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu)


def _quota(root: Path) -> float:
    """CPUs' worth of time that the control groups allow: the least of this process's group and those above it."""
    least = math.inf
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(mount):
                least = min(least, _limit(folder))
    return least


def _limit(group: Path) -> float:
    """Of one control group, version 2 or 1; infinite without a limit."""
    quota, _, period = _text(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
    limited = quota.isdecimal() and period.isdecimal() and int(period) > 0  # no limit is "max", or -1 in version 1
    return int(quota) / int(period) if limited else math.inf


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
