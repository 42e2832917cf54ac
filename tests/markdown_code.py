"""The code of a Markdown page: its fenced boxes, which a reader runs in order, and every command it shows."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmodal.commands.cli import main

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"# (\S+\.yaml)\n")


@dataclass(frozen=True)
class Box:
    """A fenced box: its language and its text."""

    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines, those that end in a backslash joined with the next."""
        return [line.strip() for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def boxes(page: Path, replaced: Mapping[str, str] | None = None) -> list[Box]:
    """The fenced boxes of a page, in order; `replaced` puts other words in the place of some of its own."""
    text = page.read_text(encoding="utf-8")
    for old, new in (replaced or {}).items():
        assert old in text, f"{page}: {old} is not in it"
        text = text.replace(old, new)
    return [Box(*found) for found in FENCE.findall(text)]


def run_page(page: Path, replaced: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a page in the working folder, as a reader would.

    Boxes of Python share their names, which are returned; those of bash hold commands of xmodal, which run in this
    process; a YAML box whose first line is a comment with a file's name is written to that file.
    """
    names: dict[str, Any] = {"__name__": "page"}
    for box in boxes(page, replaced):
        if box.language == "python":
            exec(compile(box.text, str(page), "exec"), names)
        elif box.language == "bash":
            for line in box.commands:
                program, *arguments = shlex.split(line, comments=True)
                assert program == "xmodal", line
                main(arguments)
        elif box.language == "yaml":
            write_named(box)
    return names


def write_named(box: Box) -> Path | None:
    """The file that a YAML box names in its first line, written; None where it names none."""
    named = NAMED.match(box.text)
    if named is None:
        return None
    Path(named[1]).write_text(box.text, encoding="utf-8")
    return Path(named[1])


def shown_commands(page: Path) -> Iterator[str]:
    """Every command of xmodal that a page shows, on one line each: in boxes, in indented lines, in inline code."""
    text = page.read_text(encoding="utf-8")
    outside = FENCE.sub("", text).replace("\\\n", " ")
    lines = [line for box in boxes(page) if box.language in ("bash", "") for line in box.commands]
    lines += [line.strip() for line in outside.splitlines() if line.startswith("    ")]
    for line in lines:
        found = re.match(r"(?:\$ )?(xmodal [a-z].*)", line)
        if found:
            yield found[1]
    yield from re.findall(r"`(xmodal [a-z][^`]*)`", re.sub(r"^    .*$", "", outside, flags=re.MULTILINE))
