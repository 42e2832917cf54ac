"""`xmodal app` as it is typed: mistakes are one line each before anything is loaded; and a run that hears people."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_driver import browser_hearing, for_microphone, free_port, opened

from xmodal.app.serving import end_on_signals
from xmodal.commands.sharing.app import main
from xmodal.errors import run_script

DIGITS = "zero one two three four five six seven eight nine".split()  # noqa: SIM905


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What looks like a run."""
    (tmp_path / "config.yaml").write_text("output: x\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "nowhere: not a run folder (no config.yaml); give the folder named by `output`"),
        (["{run}", "{run}"], "{run}: given twice; name two runs, or one"),
        (["{run}", "--search", "{run}/e.parquet"], "{run}/e.parquet: no such file; make it with xmodal embed"),
        (["{run}", "--port", "none"], "--port: found none, expected a whole number, 1 to 65535"),
        (["{run}", "--max-mb", "0"], "--max-mb: found 0, expected a whole number, 1 or more"),
    ],
)
def test_mistakes(arguments: list[str], line: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(main, [argument.format(run=run) for argument in arguments]) == 2
    assert capsys.readouterr().err == f"error: {line.format(run=run)}\n"


def test_a_port_in_use(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert run_script(main, [str(run), "--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: --port {port}: cannot be used on 127.0.0.1 (Address already in use); give another")
    assert run_script(main, [str(run), "--port", "70000"]) == 2
    assert capsys.readouterr().err == "error: --port: found 70000, expected a whole number, 1 to 65535\n"


def test_without_gradio(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert run_script(main, [str(run)]) == 2
    told = "error: gradio is not installed, and the page needs it; pip install 'xmodal[app]'\n"
    assert capsys.readouterr().err == told


@pytest.fixture
def handlers() -> Iterator[None]:
    """The test may set handlers of signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_ends_it_as_ctrl_c_does(number: signal.Signals, handlers: None) -> None:
    signal.signal(number, signal.SIG_DFL)  # under nohup, say, it is ignored
    end_on_signals()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)


def test_a_closed_terminal_is_outlived_under_nohup(handlers: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_on_signals()
    os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.slow
def test_a_person_is_understood(xmodal_data: Path, tmp_path: Path) -> None:
    """With the run that XMODAL_APP_RUN names, such as that of `make demo`: somebody says seven to the microphone."""
    trained = os.environ.get("XMODAL_APP_RUN")
    if not trained:
        pytest.skip("XMODAL_APP_RUN is unset: no trained run to speak to")
    said = for_microphone(xmodal_data / "fsdd" / "recordings" / "7_jackson_0.wav", tmp_path / "said.wav")
    port = free_port()
    command = [sys.executable, "-m", "xmodal", "app", trained, "--port", str(port)]
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    there = os.environ | {"TMPDIR": str(uploads)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=there)
    try:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{port}/"
        assert server.stdout.readline() == f"{address}  (Ctrl-C ends it)\n"
        with browser_hearing(said) as browser, opened(browser, address) as page:
            page.page.get_by_label("What it may mean").fill("\n".join(DIGITS))
            page.speak(3)
            assert page.wait(".xm-best") == "seven"
            assert page.foreign == page.problems == []
        assert list(uploads.glob("xmodal-app-*/*"))
        server.send_signal(signal.SIGHUP)
        assert server.stdout.readline() == "closed; uploads are deleted\n"
        assert server.wait(timeout=120) == 0
        assert list(uploads.glob("xmodal-app-*")) == []
    finally:
        server.kill()
        server.communicate()
