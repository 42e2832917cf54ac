"""Cut rows into parts so that no speaker (or sentence, or source) is in two of them.

Who goes where depends on the names alone: the same for every order of the rows, and again tomorrow.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

REST = "train"  # the part that gets what the others leave

log = logging.getLogger(__name__)


def split_by(
    rows: Sequence[dict[str, Any]], column: str, shares: Mapping[str, float]
) -> dict[str, list[dict[str, Any]]]:
    """Rows by part, in their order: each of `shares`, and `train`, the rest.

    Groups (rows with one value of `column`) are taken in the order of a digest of the value. A part is full once it
    holds its share of the rows, so it may be larger by less than a group. Where there are fewer groups than parts,
    everything is `train`, and a warning says so.

    Example:
        split_by(rows, "speaker", {"dev": 0.1})["dev"]
    """
    sizes: dict[str, int] = defaultdict(int)
    for row in rows:
        sizes[str(row[column])] += 1
    waiting = sorted(sizes, key=lambda value: hashlib.blake2b(value.encode("utf-8", "surrogateescape")).digest())
    part_of: dict[str, str] = {}
    if len(waiting) <= len(shares):
        log.warning("%d %ss are too few to cut off %s: all rows are train", len(waiting), column, ", ".join(shares))
        shares = {}
    for number, (part, share) in enumerate(shares.items(), start=1):
        taken = 0
        left_to_others = len(shares) - number + 1
        while len(waiting) > left_to_others and (taken == 0 or taken < share * len(rows)):
            value = waiting.pop(0)
            part_of[value] = part
            taken += sizes[value]
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in (*shares, REST)}
    for row in rows:
        parts[part_of.get(str(row[column]), REST)].append(row)
    return parts


def mark_seen(rows: Sequence[dict[str, Any]], known: Sequence[dict[str, Any]], what: str) -> int:
    """Set `seen` on each row: does its text, case and punctuation aside, occur among the `known` rows?

    Returns their number, and says it in a warning that begins with `what`.

    Example:
        mark_seen(test, train, "speechocean762 test")  # 52
    """
    texts = {_words(row["text"]) for row in known}
    for row in rows:
        row["seen"] = _words(row["text"]) in texts
    count = sum(row["seen"] for row in rows)
    if count:
        log.warning(
            "%s: %d of %d sentences occur in training, too (column seen); leave them out of a claim on new sentences",
            what, count, len(rows),
        )  # fmt: skip
    return count


def _words(text: str) -> str:
    return " ".join("".join(letter if letter.isalnum() else " " for letter in text.casefold()).split())
