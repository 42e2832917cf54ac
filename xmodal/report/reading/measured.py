"""How the numbers of a data set were measured, as a table: a column for each family of metrics.

Input: records. Output: `Measured`, by data set. What holds for all families is said once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from xmodal.report.cells import cell
from xmodal.report.reading.families import placed
from xmodal.report.record import Record


@dataclass(frozen=True)
class Measured:
    """The conditions of one data set.

    columns  the families
    common   (condition, value) that all metrics share
    apart    (condition, [a cell for each column])
    """

    columns: list[str]
    common: list[tuple[str, str]]
    apart: list[tuple[str, list[str]]]


def measured(records: Sequence[Record]) -> dict[str, Measured]:
    """Data set -> its conditions; of those without any, nothing.

    Where the metrics of one family differ, a cell says which has which: "3947; 515 (among the test's classes)".
    """
    return {
        dataset: _of_one([r for r in records if r.dataset == dataset])
        for dataset in dict.fromkeys(record.dataset for record in records if record.context)
    }


def _of_one(records: Sequence[Record]) -> Measured:
    places = [placed(record.metric) for record in records]
    common, apart = [], []
    both = list(zip(places, records, strict=True))
    columns = list(dict.fromkeys(place.column for place in places))
    for key in dict.fromkeys(key for record in records for key in record.context):
        cells = []
        for column in columns:
            mine = [(place.row, record.context) for place, record in both if place.column == column]
            told = [(row, cell(context[key])) for row, context in mine if key in context]
            cells.append(_cell(told, lacking=len(told) < len(mine)))
        if len(set(cells)) == 1:
            common.append((key, cells[0]))
        else:
            apart.append((key, cells))
    used = [at for at, _ in enumerate(columns) if any(cells[at] for _, cells in apart)]
    return Measured([columns[at] for at in used], common, [(key, [cells[at] for at in used]) for key, cells in apart])


def _cell(rows: Sequence[tuple[tuple[str, ...], str]], lacking: bool) -> str:
    """The values of a family, each with what its rows have that those of no other value have."""
    told: dict[str, list[tuple[str, ...]]] = {}
    for row, value in rows:
        told.setdefault(value, []).append(row)
    if len(told) == 1 and not lacking:
        return next(iter(told))
    parts = [{part for row in found for part in row} for found in told.values()]
    alike = set.intersection(*parts) if len(parts) > 1 else set()
    return "; ".join(
        _which(value, [", ".join(p for p in row if p not in alike) for row in of]) for value, of in told.items()
    )


def _which(value: str, of: Sequence[str]) -> str:
    named = "; ".join(dict.fromkeys(row for row in of if row))
    return f"{value} ({named})" if named else value
