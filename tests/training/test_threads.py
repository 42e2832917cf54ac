import time

import pytest
import torch

from xmodal.training import threads
from xmodal.training.threads import choose_threads


@pytest.fixture(autouse=True)
def restore():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def never() -> None:
    raise AssertionError("nothing to time")


def test_a_wanted_number_is_taken_untimed():
    assert choose_threads(3, 1, never) == torch.get_num_threads() == 3
    assert choose_threads(3, 8, never) == 3


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 8)
    assert choose_threads(None, 2, never) == 4
    assert choose_threads(None, 16, never) == 1


@pytest.mark.parametrize("best", [1, 2, 4])
def test_alone_the_fastest_is_taken(monkeypatch, best):
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 4)
    seen = []

    def work():
        seen.append(torch.get_num_threads())
        time.sleep(0.001 if seen[-1] == best else 0.02)

    assert choose_threads(None, 1, work) == torch.get_num_threads() == best
    assert sorted(set(seen)) == [1, 2, 4]
