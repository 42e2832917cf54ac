"""What a run cost: seconds of training, without evaluating and saving, and its process's peak memory."""

import resource
import sys
import time
from pathlib import Path

import torch

from xmodal.runs.checkpoint import State

_STATUS = Path("/proc/self/status")


class Effort:
    """A stopwatch over the training steps of a run; it adds to the state, so the sum is the same over resumes.

    Example:
        effort = Effort(state)
        effort.start()
        ...  # read a batch, make a step
        effort.stop()
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self._since = time.perf_counter()

    def start(self) -> None:
        """Training goes on from here."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Training pauses: what comes next (logging, evaluating, saving) does not count."""
        self.state.seconds += time.perf_counter() - self._since
        self.state.peak_memory_mb = max(self.state.peak_memory_mb, peak_memory_mb())


def peak_memory_mb() -> float:
    """The most memory this process had so far, in MB (10^6 bytes): on the CPU its resident set, else that of the GPU.

    Of the resident set Linux is asked in /proc, whose peak begins with the program; getrusage's begins with the parent.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e6
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6
