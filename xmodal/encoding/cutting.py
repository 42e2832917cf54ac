"""What towers did not see whole (`Processor.cut`): counted and told once, never item by item."""

from pathlib import Path
from typing import Any

from xmodal.data.tally import Tally

Cut = list[tuple[Any, str]]  # an item, and why its tower did not see all of it

SHOWN = 60  # letters of a text in a line


def cut_line(cut: Cut, of: int) -> str:
    """One line on them, among `of` items.

    Example:
        cut_line(cut, 200)  # "3 of 200 items are cut short, the first 'a very long ...': text of 80 tokens cut to 64"
    """
    item, reason = cut[0]
    return f"{len(cut):,} of {of:,} items are cut short, the first {_name(item)!r}: {reason}"


def add_cut(tally: Tally, cut: Cut) -> None:
    """Count them in a tally, by reason."""
    for item, reason in cut:
        tally.cut_short(_name(item), reason)


def count_of(tally: Tally) -> int:
    """How many items a tally holds that are cut."""
    return sum(counted.count for counted in tally.cut.values())


def _name(item: Any) -> str:
    if isinstance(item, str):
        return item if len(item) <= SHOWN else f"{item[: SHOWN - 3]}..."
    return str(item) if isinstance(item, Path) else type(item).__name__
