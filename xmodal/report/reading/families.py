"""Records as tables for people: one row for what was measured, one column for each family of metrics.

Input: records. Output: `Sheet`s. A metric's name says where it stands: accuracy_mean_among_test is in the column
accuracy, in the row of example sentences among the test's classes. A name that no rule knows is a column of its own, so
nothing is lost.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from xmodal.report.cells import number
from xmodal.report.record import Record

KINDS = {"prompt": "by prompts", "mean": "by example sentences"}  # how the classes are known
AMONG = "among the test's classes"
FOLDS = "mean of the folds"
REWORDINGS = "Rewordings: accuracy minus that of the original templates"

_SCORES = (
    "accuracy_open|accuracy|oracle|cascade|of_oracle|speech_minus_cascade|auroc|fpr_at_95_tpr|rejected_known"
    "|accepted_none"
)
_RULES = tuple(
    re.compile(rule)
    for rule in (
        r"(?P<column>accuracy)_(?:k(?P<k>\d+)|(?P<all>all))",
        rf"(?P<column>{_SCORES})_(?:(?P<what>.+)_)?(?P<kind>prompt|mean)(?P<among>_among_test)?",
        r"(?P<column>majority)(?:_(?P<what>(?!among_test).+))?(?P<among>_among_test)?",
        r"(?P<what>.+)_(?P<column>recall@\d+|median_rank|mean_rank|map@\d+)",
        r"(?P<what>scenario|action|intent)_(?P<column>official|strict)",
        r"(?P<column>.+)(?P<folds>_over_folds)",
        r"(?P<reworded>.+) - original",
    )
)
_OF_RUN = re.compile(r"(?P<metric>.+?): (?P<run>.+)")


class Place(NamedTuple):
    """Where a metric stands: in which table, which column, and what its row is about."""

    block: str
    column: str
    row: tuple[str, ...]


def placed(metric: str) -> Place:
    """The place of a metric, from its name.

    Example:
        placed("oracle_mean_among_test")  # Place("", "oracle", ("by example sentences", AMONG))
        placed("accuracy_k5: cwcl")  # Place("", "cwcl", ("accuracy", "k = 5")): runs side by side are columns
    """
    if "/" in metric:  # of a sweep: DATASET/METRIC
        return Place("", metric, ())
    of_run = _OF_RUN.fullmatch(metric)
    if of_run:
        inner = placed(of_run["metric"])
        return Place(inner.block, of_run["run"], inner.row if inner.block else (inner.column, *inner.row))
    for rule in _RULES:
        found = rule.fullmatch(metric)
        if found:
            return _placed(found.groupdict())
    return Place("", _plain(metric), ())


def _placed(part: Mapping[str, str | None]) -> Place:
    """Of the named groups of a rule; what one has no group for is not there."""
    told = {name: text for name, text in part.items() if text is not None}
    if "reworded" in told:
        return Place(REWORDINGS, "difference", (told["reworded"],))
    named = {"all": "all templates", "among": AMONG, "folds": FOLDS}
    named |= {
        "what": _plain(told.get("what", "")),
        "kind": KINDS.get(told.get("kind", ""), ""),
        "k": f"k = {told.get('k')}",
    }
    row = tuple(named[name] for name in ("what", "k", "all", "kind", "among", "folds") if name in told)
    return Place("", _plain(told["column"]), row)


def _plain(name: str) -> str:
    return name.replace("_", " ")


@dataclass(frozen=True)
class Row:
    """The records of one thing that was measured, by column."""

    dataset: str
    about: tuple[str, ...]
    cells: dict[str, Record] = field(default_factory=dict)

    @property
    def n(self) -> int | None:
        """Items, where all of the records have the same number."""
        found = {record.n for record in self.cells.values()}
        return found.pop() if len(found) == 1 else None

    @property
    def chances(self) -> set[float]:
        """The chance levels of its records, as many as are unlike."""
        return {chance for record in self.cells.values() if (chance := chance_of(record)) is not None}

    @property
    def chance(self) -> float | None:
        """The chance level, where all records that have one have the same."""
        return next(iter(self.chances)) if len(self.chances) == 1 else None


@dataclass(frozen=True)
class Sheet:
    """One table: its rows share columns."""

    title: str
    rows: list[Row] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Of all rows, in order of appearance."""
        return list(dict.fromkeys(column for row in self.rows for column in row.cells))

    @property
    def own_n(self) -> bool:
        """Has every row one number of items, so that it is a column of its own?"""
        return all(row.n is not None for row in self.rows)

    @property
    def own_chance(self) -> bool:
        """Has no row two chance levels, so that they are a column of their own?"""
        return all(len(row.chances) <= 1 for row in self.rows)

    def beside(self, record: Record) -> str:
        """What stands with a number in its cell, since no column has it: `n 300, chance 0.100`."""
        told = [] if self.own_n else [f"n {record.n:,}"]
        chance = chance_of(record)
        return ", ".join(told + ([] if self.own_chance or chance is None else [f"chance {number(chance)}"]))


def chance_of(record: Record) -> float | None:
    """Its chance level; None of a difference, whose 0 says nothing, and of one without."""
    known = record.chance is not None and not math.isnan(record.chance) and not is_difference(record)
    return record.chance if known else None


def is_difference(record: Record) -> bool:
    """Is it one number minus another? Its chance, 0, says nothing then."""
    return "excludes_0" in record.context or bool(re.search(r" - | minus |_minus_", record.metric))


def sheets(records: Sequence[Record]) -> list[Sheet]:
    """All records as tables. Rows that share no column stand in different ones; every record is in one at least."""
    rows: dict[tuple[str, str, tuple[str, ...]], Row] = {}
    for record in records:
        block, column, about = placed(record.metric)
        while column in rows.setdefault((block, record.dataset, about), Row(record.dataset, about)).cells:
            about = (*about, "again")  # two reports in one may both have it
        rows[block, record.dataset, about].cells[column] = record
    _majority_beside_what_it_bounds(rows)
    found: list[Sheet] = []
    for (block, _, _), row in rows.items():
        own = row.cells.keys() - {"majority"} or row.cells.keys()
        fitting = (sheet for sheet in found if sheet.title == block and own & set(sheet.columns))
        sheet = next(fitting, None)
        if sheet is None:
            sheet = Sheet(block)
            found.append(sheet)
        sheet.rows.append(row)
    return found


def _majority_beside_what_it_bounds(rows: dict[tuple[str, str, tuple[str, ...]], Row]) -> None:
    """Always answering the commonest class has one accuracy for every kind of class vector: it goes into their rows."""
    for key, row in list(rows.items()):
        if row.cells.keys() != {"majority"}:
            continue
        beside = [
            other
            for other in rows.values()
            if other is not row
            and other.dataset == row.dataset
            and tuple(part for part in other.about if part not in KINDS.values()) == row.about
            and {"accuracy", "cascade", "oracle"} & other.cells.keys()
        ]
        for other in beside:
            other.cells["majority"] = row.cells["majority"]
        if beside:
            del rows[key]
