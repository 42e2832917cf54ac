"""What a run cost: seconds of training and peak memory of its process, both without evaluating and saving."""

import resource
import sys
import time
from pathlib import Path

import torch

from xmodal.runs.checkpoint import State

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Effort:
    """Seconds and memory of the training steps of a run; it adds to the state, so the sum is the same over resumes.

    Example:
        effort = Effort(state)
        effort.start()
        ...  # read a batch, make a step
        effort.stop()
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.start()

    def start(self) -> None:
        """Training goes on from here; the peak of what came before is forgotten where the system allows it."""
        self._reset = reset_peak()
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Training pauses: what comes next (logging, evaluating, saving) does not count."""
        self.state.seconds += time.perf_counter() - self._since
        self.state.peak_memory_mb = max(self.state.peak_memory_mb, memory_mb(self._reset))


def reset_peak() -> bool:
    """Let the peak of this process's memory begin anew, of the GPU where it is used, else of the resident set.

    Returns:
        Whether it did: only Linux can reset the resident set's, and some sandboxes refuse it.
    """
    if _on_gpu():
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        with _RESET.open("w") as file:  # "5" resets VmHWM (Linux 4.0, man proc_pid_clear_refs)
            file.write("5")
    except OSError:
        return False
    return True


def memory_mb(peak: bool) -> float:
    """This process's memory in MB (10^6 bytes): what torch holds on the GPU where it is used, else its resident set.

    Args:
        peak: the most since `reset_peak`; otherwise what there is now, since the peak may be of something else. Off
            Linux there is only the peak of the whole process.
    """
    if _on_gpu():
        return (torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / 1e6
    if _STATUS.is_file():
        wanted = "VmHWM:" if peak else "VmRSS:"
        for line in _STATUS.read_text().splitlines():
            if line.startswith(wanted):
                return int(line.split()[1]) * 1024 / 1e6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def _on_gpu() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()
