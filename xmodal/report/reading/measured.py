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

    Where the metrics of one family differ, a cell says which has which: "8 (prompt); 3947 (mean)".
    """
    return {
        dataset: _of_one([r for r in records if r.dataset == dataset])
        for dataset in dict.fromkeys(record.dataset for record in records if record.context)
    }


def _of_one(records: Sequence[Record]) -> Measured:
    places = [placed(record.metric) for record in records]
    common, apart = [], []
    columns = list(dict.fromkeys(place.column for place in places))
    for key in dict.fromkeys(key for record in records for key in record.context):
        values = [cell(record.context[key]) if key in record.context else None for record in records]
        if None not in values and len(set(values)) == 1:
            common.append((key, str(values[0])))
            continue
        cells = []
        for column in columns:
            told: dict[str, list[str]] = {}
            rows = [(p.row, value) for p, value in zip(places, values, strict=True) if p.column == column]
            for row, value in rows:
                if value is not None:
                    told.setdefault(value, []).append(", ".join(row))
            alone = len(told) == 1 and None not in [value for _, value in rows]
            cells.append("; ".join(value if alone else _which(value, of) for value, of in told.items()))
        apart.append((key, cells))
    used = [at for at, _ in enumerate(columns) if any(cells[at] for _, cells in apart)]
    return Measured([columns[at] for at in used], common, [(key, [cells[at] for at in used]) for key, cells in apart])


def _which(value: str, of: Sequence[str]) -> str:
    named = "; ".join(dict.fromkeys(row for row in of if row))
    return f"{value} ({named})" if named else value
