"""What became of the data: how much was seen, used, left out and cut short, why, and which, for example.

Nothing is dropped or shortened without a line here. Whoever reads pairs fills a tally; training prints it at the start
and writes it into the run's reports.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from xmodal.data.unusable import Bad, listed

SHOWN = 3  # examples of a reason

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@dataclass
class Counted:
    """How many items share a reason, and the first of them with the reason as it was given."""

    count: int = 0
    examples: list[Bad] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        """One more."""
        self.count += 1
        if len(self.examples) < SHOWN:
            self.examples.append((name, reason))


@dataclass
class Tally:
    """Counts over one data set.

    Args:
        source: what the data set is called.
        used: items that training or a test uses.
        left_out: kind of reason -> the items that are not used. Reasons are of one kind where they differ only in the
            item's name and in numbers.
        cut: the same of items of which a tower does not see all; they are used.
        notes: lines on how the counting was done.

    Example:
        tally = Tally("data/m.jsonl", used=98)
        tally.leave_out("a7", "a7.wav: no such file")
        print(tally)
    """

    source: str = ""
    used: int = 0
    left_out: dict[str, Counted] = field(default_factory=dict)
    cut: dict[str, Counted] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """Items used and left out."""
        return self.used + _total(self.left_out)

    def leave_out(self, name: str, reason: str) -> None:
        """One item that was never used."""
        self.left_out.setdefault(_kind(name, reason), Counted()).add(name, reason)

    def lose(self, items: Iterable[Bad]) -> None:
        """Items that were to be used, and are left out after all (`PairBatch.skipped`), each told once."""
        for name, reason in items:
            self.used -= 1
            self.leave_out(name, reason)

    def cut_short(self, name: str, reason: str) -> None:
        """One item of which its tower does not see all."""
        self.cut.setdefault(_kind(name, reason), Counted()).add(name, reason)

    def lines(self) -> list[str]:
        """For people: a line of numbers, a line for each reason, the notes."""
        found = [f"{self.source}: {self.seen:,} items, {self.used:,} used, {_total(self.left_out):,} left out, "
                 f"{_total(self.cut):,} cut short"]  # fmt: skip
        for title, reasons in (("left out", self.left_out), ("cut short", self.cut)):
            for counted in sorted(reasons.values(), key=lambda counted: -counted.count):
                more = ", ..." if counted.count > len(counted.examples) else ""
                found.append(f"  {title}, {counted.count:,}: {listed(counted.examples)}{more}")
        return found + [f"  {note}" for note in self.notes]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source": self.source,
            "seen": self.seen,
            "used": self.used,
            "left_out": _as_list(self.left_out),
            "cut": _as_list(self.cut),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _total(reasons: dict[str, Counted]) -> int:
    return sum(counted.count for counted in reasons.values())


def _as_list(reasons: dict[str, Counted]) -> list[dict[str, Any]]:
    return [
        {"reason": kind, "count": counted.count, "examples": [list(example) for example in counted.examples]}
        for kind, counted in reasons.items()
    ]


def _kind(name: str, reason: str) -> str:
    """A reason without what tells one item from another: its name or path at the beginning, and numbers."""
    head, colon, rest = reason.partition(": ")
    told = rest if colon and (name in head or "/" in head or "." in head) else reason
    return _NUMBER.sub("N", told)
