"""A browser whose microphone plays a file, and a page in it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import find_browser

OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)  # fmt: skip
PATIENCE = 60_000  # ms for one answer, on a busy machine


@dataclass
class Opened:
    """A page, the addresses it asked for, and the errors of its scripts."""

    page: Any
    address: str
    asked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def foreign(self) -> list[str]:
        """Requests to anywhere but the server."""
        return [url for url in self.asked if not url.startswith((self.address, "data:", "blob:"))]

    @property
    def is_too_wide(self) -> bool:
        """Must one scroll sideways?"""
        wide: bool = self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        return wide

    def wait(self, selector: str, containing: str = "") -> str:
        """The text of what is chosen, once it is seen and holds some words."""
        found = self.page.locator(selector).filter(has_text=containing).locator("visible=true").first
        found.wait_for(timeout=PATIENCE)
        text: str = found.inner_text()
        return text

    def drop(self, file: Path) -> None:
        """Give a file to the field in sight."""
        self.page.locator(".xm-file >> visible=true").locator("input[type=file]").set_input_files(file)

    def speak(self, seconds: float) -> None:
        """Record from the microphone."""
        self.page.get_by_role("button", name="Record", exact=True).first.click()
        self.page.wait_for_timeout(1000 * seconds)
        self.page.get_by_role("button", name="Stop", exact=True).first.click()


@contextmanager
def browser_hearing(file: Path) -> Iterator[Any]:
    """A headless Chromium whose microphone plays a WAV file once; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the page is not looked at")
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on this machine: the page is not looked at")
    with api.sync_playwright() as driver:
        sound = f"--use-file-for-fake-audio-capture={file}%noloop"
        browser = driver.chromium.launch(executable_path=program, args=[*OPTIONS, sound])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, address: str, width: int = 1280) -> Iterator[Opened]:
    """The page at an address in a window `width` pixels wide, as soon as it is drawn."""
    found = Opened(browser.new_page(viewport={"width": width, "height": 900}), address)
    found.page.on("request", lambda request: found.asked.append(request.url))
    found.page.on("pageerror", lambda error: found.problems.append(str(error)))
    found.page.goto(address)
    found.wait(".xm-answer")
    yield found
    found.page.close()


def for_microphone(recording: Path, out: Path) -> Path:
    """The recording as a WAV with a second of silence before it and five after it, as people are slow."""
    samples, rate = soundfile.read(recording)
    soundfile.write(out, np.concatenate([np.zeros(rate), samples, np.zeros(5 * rate)]), rate)
    return out


def free_port() -> int:
    """A port of 127.0.0.1 where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
