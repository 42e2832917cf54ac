"""How far transcripts are from what was said: word and character error rates.

Case, punctuation and spacing aside. Edits are those of the least expensive alignment, counted by jiwer. Axes: n items.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from xmodal.evaluation.statistics.metrics import ratio_interval
from xmodal.evaluation.statistics.resampling import Floats
from xmodal.prompts import bare_words
from xmodal.report.record import Record


class Edits(NamedTuple):
    """Of every item that says anything, [m]: its row, edits and length, in words and in characters."""

    rows: list[int]
    words_wrong: Floats
    words: Floats
    letters_wrong: Floats
    letters: Floats


def can_count() -> bool:
    """Is jiwer installed?"""
    return find_spec("jiwer") is not None


def edits(true: Sequence[str], heard: Sequence[str]) -> Edits:
    """Substitutions, deletions and insertions that turn what was said into what was heard.

    Args:
        true: [n] what was said; texts without a word are left out.
        heard: [n] transcripts.
    """
    import jiwer

    rows, counts = [], []
    for row, (said, found) in enumerate(zip(map(bare_words, true), map(bare_words, heard), strict=True)):
        if not said:
            continue
        words, letters = jiwer.process_words(said, found), jiwer.process_characters(said, found)
        rows.append(row)
        counts.append([_wrong(words), len(said.split()), _wrong(letters), len(said)])
    columns = np.array(counts, dtype=np.float64).reshape(-1, 4).T
    return Edits(rows, *columns)


def error_rates(
    dataset: str, true: Sequence[str], heard: Sequence[str], clusters: Any, context: dict[str, Any]
) -> list[Record]:
    """Records `wer` and `cer`: all edits over all words (characters); none where no item says anything.

    Example:
        error_rates("devel", ["play it"], ["play that"], ["s1"], {})[0].value  # 0.5
    """
    found = edits(true, heard)
    if not found.rows:
        return []
    groups = np.asarray(clusters, dtype=object)[found.rows]
    records = []
    for metric, wrong, length in (
        ("wer", found.words_wrong, found.words),
        ("cer", found.letters_wrong, found.letters),
    ):
        mean = length.mean()  # an item of mean length, all wrong, is what an unseen cluster may be at worst
        low, high = ratio_interval(wrong / mean, length / mean, groups)
        records.append(Record(dataset, metric, wrong.sum() / length.sum(), low, high, len(found.rows), None, context))
    return records


def _wrong(counted: Any) -> int:
    return int(counted.substitutions + counted.deletions + counted.insertions)
