"""The answer of a report in sentences, out of its records: what a reader wants to know before any table.

Input: records and notes. Output: `Answer`. One sentence for each data set, with interval, n, chance and oracle; of runs
side by side, who is ahead, and only where the interval of the difference says so.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from xmodal.report.cells import number, spanned
from xmodal.report.reading.families import AMONG, FOLDS, KINDS, Row, is_difference, sheets
from xmodal.report.record import Record

SUITE = "mean over the suite"  # a data set of that name speaks for all others
NO_WINNER = "no winner: "
MOST = 6  # sentences; what is beyond is in the table
MOST_OF_ONE = 3  # of one data set

RIGHT = "{value} of {items} right{classes}"
LEADS = {  # column -> what it says, the first that a row has
    "accuracy": RIGHT,
    "acc1": RIGHT,
    "strict": RIGHT + ", those without a prediction counted as wrong",
    "mean average precision": "mean average precision {value} over {items}",
    "recall@1": "a right one comes first for {value} of {queries}",
    "linear": RIGHT + " by a linear probe",
    "knn": RIGHT + " by a vote of nearest neighbours",
    "accuracy open": RIGHT + ", “none of these” being an answer too",
}
ITEMS = {"image": "images", "audio": "recordings", "text": "texts"}


@dataclass(frozen=True)
class Sentence:
    """One thing that was found, the record behind it where it is a share, and what must be known beside it."""

    text: str
    record: Record | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The sentences, and the notes that belong to none of them."""

    sentences: list[Sentence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def answer(records: Sequence[Record], notes: Sequence[str] = (), said: Sequence[str] = ()) -> Answer:
    """What a report came to.

    A note that begins with a data set's name stands beside its sentence.

    Args:
        records: all of them.
        notes: of the report.
        said: sentences of who measured, in place of those made of the records.

    Example:
        answer([Record("heldout", "acc1", 0.83, 0.79, 0.86, 412, 0.1)]).sentences[0].text
        # "heldout: 0.830 [0.790, 0.860] of 412 items right (chance 0.100)."
    """
    if said:
        return Answer([Sentence(text) for text in said], list(notes))
    rows = [row for sheet in sheets(records) for row in sheet.rows if not sheet.title]
    found = _of_settings(rows) or [pair for dataset in _ordered(rows) for pair in _of_dataset(dataset, rows)]
    shown, sentences, used = found[:MOST], list[Sentence](), set[str]()
    for dataset, sentence in shown:
        mine = [note for note in notes if note.startswith(f"{dataset}: ") and note not in used]
        used.update(mine)
        told = tuple(note.removeprefix(f"{dataset}: ") for note in mine)
        sentences.append(Sentence(sentence.text, sentence.record, told))
    if len(found) > MOST:
        sentences.append(Sentence(f"{len(found) - MOST} more are in the table."))
    return Answer(sentences, [note for note in notes if note not in used])


_Found = tuple[str, Sentence]  # of a data set


def _ordered(rows: Iterable[Row]) -> list[str]:
    """Data sets in order of appearance, the mean over all first."""
    return sorted(dict.fromkeys(row.dataset for row in rows), key=lambda dataset: dataset != SUITE)


def _of_dataset(dataset: str, rows: Sequence[Row]) -> list[_Found]:
    """Its leading rows: class means before prompts, all candidates before the test's own; else its first number."""
    mine = [row for row in rows if row.dataset == dataset]
    versus = [row for row in mine if _gap(row) is not None and row.about[0] in LEADS]
    if versus:
        return [(dataset, _side_by_side(row)) for row in _foremost(versus)]
    leading = [row for row in mine if _lead(row) is not None]
    if leading:
        return [(dataset, _of_row(row)) for row in _foremost(leading)]
    first = next((r for row in mine for r in row.cells.values() if r.value is not None), None)
    if first is None:
        return []
    words = first.metric.replace("_", " ")
    return [(dataset, Sentence(f"{dataset}: {words} {_told(first)}, n = {first.n:,}{_brackets(first, {})}.", first))]


def _foremost(rows: Sequence[Row]) -> list[Row]:
    """Without what says the same in a weaker way; all label sets together first; at most three."""
    abouts = {row.about for row in rows}

    def weaker(row: Row) -> bool:
        by_means = tuple(KINDS["mean"] if part == KINDS["prompt"] else part for part in row.about)
        among_all = tuple(part for part in row.about if part != AMONG)
        return any(other != row.about and other in abouts for other in (by_means, among_all))

    kept = [row for row in rows if not weaker(row)]
    return sorted(kept, key=lambda row: "all" not in row.about)[:MOST_OF_ONE]


def _lead(row: Row) -> str | None:
    """The column that speaks for a row."""
    return next((c for c in LEADS if c in row.cells and row.cells[c].value is not None), None)


def _of_row(row: Row) -> Sentence:
    column = str(_lead(row))
    record = row.cells[column]
    context = record.context
    candidates = context.get("candidates")
    classes = f" among {len(candidates)} classes" if isinstance(candidates, list) else ""
    by = "".join(f", known {part}" for part in row.about if part in KINDS.values())
    about = [row.dataset, *(part for part in row.about if part not in (*KINDS.values(), FOLDS))]
    about += ["zero-shot"] if context.get("zero_shot") is True else []
    parts = _parts(row, record)
    of = f"a {parts.kind}'s" if parts else f"{record.n:,}"  # a mean of shares is no share of all items
    items, queries = f"{of} {_items(record)}", f"{of} queries"
    said = LEADS[column].format(value=_told(record), items=items, queries=queries, classes=classes)
    mean = f", mean of {parts.told}" if parts else ""
    beside = {what: row.cells.get(what) or row.cells.get(f"{what} {column}") for what in ("oracle", "cascade")}
    return Sentence(f"{', '.join(about)}: {said}{by}{mean}{_brackets(record, beside)}.", record)


class _Parts(NamedTuple):
    """What a mean is over."""

    told: str  # 5 folds
    kind: str  # fold


def _parts(row: Row, record: Record) -> _Parts | None:
    """What the row's numbers are means over; None where they are of all items together."""
    if row.dataset == SUITE:
        tests = record.context.get("tests")
        return _Parts(f"{len(tests)} tests" if isinstance(tests, list) else "the tests", "test")
    if FOLDS in row.about:
        return _Parts(str(record.context.get("interval_over", "the folds")), "fold")
    return None


def _items(record: Record) -> str:
    """What they are, as far as a record tells."""
    heard = "recordings" if record.context.get("input") == "speech" else "items"
    return ITEMS.get(str(record.context.get("items")), heard)


def _brackets(record: Record, beside: dict[str, Record | None]) -> str:
    chance = [] if record.chance is None or is_difference(record) else [f"chance {number(record.chance)}"]
    others = [f"{what} {number(r.value)}" for what, r in beside.items() if r is not None and r.value is not None]
    return f" ({', '.join([*chance, *others])})" if chance or others else ""


def _told(record: Record) -> str:
    return spanned(record.value, record.low, record.high)


def _gap(row: Row) -> str | None:
    """The column "A - B" of a row of runs side by side."""
    return next((column for column, record in row.cells.items() if "excludes_0" in record.context), None)


def _side_by_side(row: Row) -> Sentence:
    gap = row.cells[str(_gap(row))]
    one, two = [(name, record) for name, record in row.cells.items() if "excludes_0" not in record.context][:2]
    verdict = ahead(one[0], two[0], gap.value, gap.low, gap.high)
    about = ", ".join([row.dataset, *row.about])
    values = f"{one[0]} {number(one[1].value)}, {two[0]} {number(two[1].value)}, {gap.n:,} items"
    return Sentence(f"{about}: {verdict} ({values}).")


def ahead(first: str, second: str, value: float | None, low: float | None, high: float | None) -> str:
    """Who is ahead, of two, and whether the interval of `value`, the first minus the second, says so.

    Example:
        ahead("cwcl", "cl", 0.03, 0.01, 0.05)  # "cwcl is ahead of cl by 0.030 [0.010, 0.050]"
    """
    if value is None or low is None or high is None or math.isnan(low) or math.isnan(high):
        apart = number(None if value is None else abs(value))
        return f"{NO_WINNER}{first} and {second} differ by {apart}, no interval"
    if value < 0:
        first, second, value, low, high = second, first, -value, -high, -low
    if low > 0:
        return f"{first} is ahead of {second} by {spanned(value, low, high)}"
    return f"{NO_WINNER}{first} and {second} differ by {spanned(value, low, high)}, which holds 0"


def _of_settings(rows: Sequence[Row]) -> list[_Found]:
    """Of a sweep, whose data sets are settings and whose metrics name data sets: who is highest, and by how much."""
    metrics = dict.fromkeys(c for row in rows for c in row.cells if "/" in c and " minus " not in c)
    found: list[_Found] = []
    for metric in metrics:
        tried = [row for row in rows if metric in row.cells and row.cells[metric].value is not None]
        if not tried:
            continue
        best = max(tried, key=lambda row: row.cells[metric].value or 0.0)
        record = best.cells[metric]
        among = f" is the highest of {len(tried)} settings with" if len(tried) > 1 else " has"
        text = f"{metric}: {best.dataset}{among} {_told(record)} on {record.n:,} items{_brackets(record, {})}"
        gap = next((c for c in best.cells if c.startswith(f"{metric} minus ")), None)
        if gap is not None:
            text += f"; minus {gap.removeprefix(f'{metric} minus ')} {_gap_told(best.cells[gap])}"
            text += " (not corrected for being the highest)" if len(tried) > 2 else ""
        found.append((best.dataset, Sentence(f"{text}.", record)))
    return found


def _gap_told(difference: Record) -> str:
    """A difference, and what its interval says."""
    if difference.low is None or difference.high is None:
        return f"{_told(difference)}, without an interval"
    holds = difference.low <= 0 <= difference.high
    return f"{_told(difference)}, {'which holds 0: no winner' if holds else 'which does not hold 0'}"
