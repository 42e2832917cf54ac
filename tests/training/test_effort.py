"""Peak memory is of training steps: what evaluating took between them is not part of it."""

import mmap
from pathlib import Path

import pytest
import torch

from xmodal.runs.checkpoint import State
from xmodal.training import effort
from xmodal.training.effort import Effort

MUCH = 80_000_000  # bytes


def use(size: int) -> None:
    """Take so much memory from the system, write to it, and give it back."""
    with mmap.mmap(-1, size) as taken:
        for page in range(0, size, mmap.PAGESIZE):
            taken[page] = 1


def run(between: int, within: int) -> float:
    """The peak that two steps note, with an evaluation between them."""
    state = State(step=0)
    watch = Effort(state)
    watch.stop()
    use(between)
    watch.start()
    use(within)
    watch.stop()
    return state.peak_memory_mb


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux")
@pytest.mark.parametrize("refused", [False, True])
def test_what_comes_between_steps_does_not_count(
    refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if refused:
        monkeypatch.setattr(effort, "_RESET", tmp_path / "no" / "clear_refs")
    if not refused and not effort.reset_peak():
        pytest.skip("this system refuses to reset the peak")
    monkeypatch.setattr(effort, "_on_gpu", lambda: False)
    use(1000)
    now = effort.memory_mb(peak=False)
    assert run(MUCH, 1000) < now + MUCH / 4e6
    assert (run(1000, MUCH) > now + MUCH / 2e6) is not refused  # else what there is at the end of the step
    assert effort.memory_mb(peak=True) > now + MUCH / 2e6


def test_a_gpu_forgets_what_came_before_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a card that is played: 10 MB at rest, 500 in an evaluation, 70 in a step."""
    peak = [10e6]
    monkeypatch.setattr(effort, "_on_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: peak[0])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: peak.__setitem__(0, 10e6))
    state = State(step=0)
    watch = Effort(state)
    for within in (60e6, 70e6):
        peak[0] = within
        watch.stop()
        peak[0] = 500e6
        watch.start()
    assert state.peak_memory_mb == 70
