"""Progress: a bar on a terminal, lines in a log."""

import io
from pathlib import Path

import pytest

from xmodal import progress
from xmodal.commands.cli import main
from xmodal.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)


def lines(log: io.StringIO) -> list[str]:
    """What a log holds: whole lines, no redrawing."""
    assert "\r" not in log.getvalue()
    assert log.getvalue().endswith("\n")
    return log.getvalue().splitlines()


def test_a_log_has_the_first_line_and_the_last_and_little_between() -> None:
    log = io.StringIO()
    assert list(progress_bar(range(5000), desc="voicing", unit="utt", file=log)) == list(range(5000))
    first, last = lines(log)  # done within ten seconds
    assert first.startswith("voicing:   0%|")
    assert last.startswith("voicing: 100%|")
    assert "5000/5000" in last


@pytest.mark.usefixtures("at_once")
def test_every_line_says_how_far_it_is() -> None:
    log = io.StringIO()
    with progress_bar(total=3, unit="step", file=log, miniters=1) as bar:
        for loss in (3, 2, 1):
            bar.set_postfix_str(f"loss {loss}", refresh=False)
            bar.update()
    assert [line.split("|")[-1].split()[0] for line in lines(log)] == ["0/3", "1/3", "2/3", "3/3", "3/3"]
    assert "loss 1" in lines(log)[-1]


def test_what_is_over_before_its_delay_says_nothing() -> None:
    log = io.StringIO()
    assert list(progress_bar(range(9), file=log, delay=60)) == list(range(9))
    assert list(progress_bar(range(9), file=log, disable=True)) == list(range(9))
    assert log.getvalue() == ""


def test_a_terminal_has_a_bar_that_redraws_itself() -> None:
    screen = Terminal()
    assert list(progress_bar(range(50), desc="voicing", file=screen)) == list(range(50))
    assert "\rvoicing: 100%|" in screen.getvalue()


def test_a_training_run_writes_a_log_of_lines(tiny_config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["train", str(tiny_config), "train.steps=3"])
    told = capfd.readouterr().err
    assert "\r" not in told
    bars = [line for line in told.splitlines() if "step/s" in line or "?step" in line]
    assert [line.split("|")[-1].split()[0] for line in bars] == ["0/3", "3/3"]
    assert "loss" in bars[-1]
