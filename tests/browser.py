"""A headless Chromium, as far as tests of pages need one: open a file at a width, and say what is wrong with it.

It is spoken to over two pipes in the DevTools protocol, a JSON object per message, each ended by a zero byte: no driver
is needed.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-extensions", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60  # seconds for one answer, on a busy machine

# What lies behind a click is looked at too, and a picture that is not decoded yet is waited for.
LOOK = """
(async () => {
  document.querySelectorAll('details').forEach(d => { d.open = true; });
  const images = [...document.images];
  await Promise.all(images.map(i => i.decode().catch(() => null)));
  const page = document.documentElement;
  const beyond = [...document.body.querySelectorAll('*')].filter(
    e => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth);
  return {
    height: page.scrollHeight,
    images: images.length,
    missing: images.filter(i => i.naturalWidth === 0).map(i => i.alt),
    too_wide: page.scrollWidth > innerWidth ? beyond.map(e => e.outerHTML.slice(0, 120)) : null,
  };
})()
"""


def find_browser() -> str | None:
    """The path of a Chromium on this machine; None without one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Seen:
    """A page as it was shown."""

    images: int
    problems: list[str]  # console errors, missing pictures, what sticks out
    screenshot: bytes  # PNG of the whole page


class Browser:
    """A page of a headless Chromium; close it when done.

    Example:
        browser = Browser(find_browser(), tmp_path / "profile")
        browser.look(tmp_path / "report.html", 400).problems  # []
    """

    def __init__(self, program: str, profile: Path) -> None:
        read, self._commands = os.pipe()
        self._answers, write = os.pipe()
        # Chromium reads at 3 and writes at 4: bash puts the pipes there, from numbers that are out of the way
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 50) for fd in (read, write)]
        redirected = f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}'
        command = ["bash", "-c", redirected, program, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, pass_fds=ends, stdin=quiet, stdout=quiet, stderr=quiet)
        for fd in (read, write, *ends):
            os.close(fd)
        self._buffer, self._number, self._session = b"", 0, ""
        self._events: list[dict[str, Any]] = []
        try:
            page = next(t for t in self._ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
            self._session = self._ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self._ask(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def look(self, file: Path, width: int) -> Seen:
        """Open a file in a window `width` pixels wide, everything unfolded, and look it over from top to bottom."""
        self._events.clear()
        self._resize(width, 900)
        self._ask("Page.navigate", url=file.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._receive()
        seen = self.value(LOOK)
        problems = [f"console: {text}" for event in self._events if (text := _error(event))]
        problems += [f"missing picture: {name}" for name in seen["missing"]]
        if seen["too_wide"] is not None:
            problems.append(f"wider than the page: {seen['too_wide']}")
        self._resize(width, min(seen["height"], 16_000))
        picture = self._ask("Page.captureScreenshot", format="png")["data"]
        return Seen(seen["images"], problems, base64.b64decode(picture))

    def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to on the page that was looked at last; a promise is waited for."""
        given = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        return self._ask("Runtime.evaluate", **given)["result"].get("value")

    def _resize(self, width: int, height: int) -> None:
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        assert os.write(self._commands, data) == len(data)
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        """The next message; one that answers nothing is an event, and kept."""
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"the browser was silent for {PATIENCE} s"
            part = os.read(self._answers, 1 << 20)
            assert part, "the browser has ended"
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(line)
        if "id" not in message:
            self._events.append(message)
        return message


def _error(event: dict[str, Any]) -> str | None:
    """What an event complains of."""
    about = event["params"]
    if event["method"] == "Runtime.exceptionThrown":
        return str(about["exceptionDetails"])
    if event["method"] == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert"):
        return str(about["args"])
    if event["method"] == "Log.entryAdded" and about["entry"]["level"] == "error":
        return about["entry"]["text"]
    return None
