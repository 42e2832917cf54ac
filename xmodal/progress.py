"""Progress of what takes longer than a moment: a bar on a terminal, and in a log a line every ten seconds.

A bar redraws itself by carriage returns. In a file, or in what a scheduler keeps of a job, each would stay: thousands
of bars in one line.
"""

import sys
import time
from typing import Any

from tqdm.auto import tqdm as _for_people
from tqdm.std import tqdm as _standard

EVERY = 10.0  # seconds between two lines of a log

_IN_NOTEBOOK = any(parent.__name__ == "tqdm_notebook" for parent in _for_people.__mro__)


class _Lines(_standard):
    """A bar as lines: the first, one every `EVERY` seconds, and the last, which stays however `leave` is set."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._said = float("-inf")
        super().__init__(*args, **options | {"mininterval": EVERY, "maxinterval": EVERY, "dynamic_ncols": False})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line, where the last one is old enough."""
        now = time.monotonic()
        if now - self._said >= EVERY:
            self._said = now
            self._line()

    def clear(self, nolock: bool = False) -> None:
        """What is in a log stays."""

    def close(self) -> None:
        """Write the last line; of what was over before its delay, none."""
        if self.disable:
            return
        delay = self.delay or 0.0
        begun = delay <= 0 or time.time() - self.start_t >= delay
        self.disable = True
        self._decr_instances(self)  # type: ignore[attr-defined]
        if begun:
            self._line()

    def _line(self) -> None:
        self.fp.write(f"{self}\n")
        self.fp.flush()


def progress_bar(*args: Any, **options: Any) -> Any:
    """A tqdm over an iterable or by hand, with tqdm's own options: a bar for people, lines for a log.

    Example:
        for path in progress_bar(paths, desc="indexing", unit="file", delay=2): ...
    """
    file = options.get("file") or sys.stderr
    kind = _for_people if _IN_NOTEBOOK or file.isatty() else _Lines
    return kind(*args, **options)


def say(text: str) -> None:
    """Print a line to standard output, above the bars that are there."""
    _standard.write(text)
