"""A report as people read it: a table for the terminal, and one HTML file that needs nothing else.

Input: a `Report`. Output: text. The page begins with the answer in sentences; the table, pictures and items follow; how
it was measured is folded. Numbers show three decimals; a missing one shows as a dash.
"""

import base64
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

from xmodal.report.cells import DASH, cell, interval, number, numeric
from xmodal.report.examples import MOST_BYTES, in_page
from xmodal.report.reading.families import Sheet, chance_of, is_difference, sheets
from xmodal.report.reading.headline import answer
from xmodal.report.reading.measured import measured
from xmodal.report.record import Record, json_ready

if TYPE_CHECKING:
    from xmodal.report.report import Report

HEADER = ("dataset", "metric", "value [95% interval]", "n", "chance")
LONG_TEXT = 160  # characters; a longer one is folded
LONG_TABLE = 24  # rows; a longer table is folded away
MANY_TABLES = 6  # more are all folded away
MANY_PICTURES = 4  # more are folded away, by data set
MANY_COLUMNS = 4  # a table of one row and more columns stands upright

_NUMBERS = re.compile(r"(-?[\d,]*\d(?:\.\d+)? \[-?[\d.,]+, -?[\d.,]+\])")  # 0.500 [0.400, 0.600]


def text(report: "Report") -> str:
    """What the report says itself, the records as aligned columns, then the notes."""
    rows = [(r.dataset, r.metric, f"{number(r.value)} {interval(r)}".rstrip(), str(r.n), number(r.chance))
            for r in report.records]  # fmt: skip
    table = aligned(HEADER, rows, right={3, 4}) if rows else ["nothing was measured"]
    lines = [report.title, "", *([*report.answer, ""] if report.answer else []), *table]
    if report.notes:
        lines += ["", *(f"note: {note}" for note in report.notes)]
    return "\n".join(lines)


def table_text(table: pd.DataFrame) -> str:
    """A frame as aligned columns for the terminal; numbers to the right."""
    right = {i for i, c in enumerate(table.columns) if numeric(table, c)}
    rows = [tuple(cell(v) for v in row) for row in table.itertuples(index=False, name=None)]
    return "\n".join(aligned([str(c) for c in table.columns], rows, right=right))


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> list[str]:
    """Lines of a table whose columns line up, a rule under the header; columns in `right` end at the same place."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()

    return [line(header), "  ".join("-" * w for w in widths), *(line(row) for row in rows)]


def html(report: "Report") -> str:
    """The report as one HTML file: styles, pictures and recordings inside, no script, nothing fetched."""
    found = answer(report.records, report.notes, report.answer)
    return page(
        "report.html.j2",
        title=report.title,
        sentences=[
            {"parts": _NUMBERS.split(s.text), "bar": s.record and _bar(s.record), "warnings": s.warnings}
            for s in found.sentences
        ],
        notes=found.notes,
        sheets=[_sheet(sheet) for sheet in sheets(report.records)],
        pictures=_pictures(report.figures),
        examples=_examples(report),
        tables=[
            {
                "name": name,
                "columns": [(str(c), numeric(table, c)) for c in table.columns],
                "rows": [[cell(v) for v in row] for row in table.itertuples(index=False, name=None)],
                "long": len(table) > LONG_TABLE or len(report.tables) > MANY_TABLES,
            }
            for name, table in report.tables.items()
        ],
        measured=measured(report.records),
        records=report.records and {
            "columns": [(column, column not in ("dataset", "metric")) for column in HEADER],
            "rows": [(r.dataset, r.metric, f"{number(r.value)} {interval(r)}", f"{r.n:,}", number(r.chance))
                     for r in report.records],
        },
        has_oracle=any("oracle" in sentence.text for sentence in found.sentences),
        has_sure=any(record.context.get("excludes_0") for record in report.records),
        predictions=len(report.predictions),
        provenance=_dotted(json_ready(report.provenance)),
        long_text=LONG_TEXT,
    )  # fmt: skip


def page(template: str, **values: Any) -> str:
    """A page of this package's templates; what is put into it is escaped."""
    return _templates().get_template(template).render(**values)


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    """Compiled once in a process."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _sheet(sheet: Sheet) -> dict[str, Any]:
    """A table of the page: a line for each row, or, of a single wide row, a line for each column."""
    columns = sheet.columns
    if len(sheet.rows) == 1 and len(columns) > MANY_COLUMNS:
        row = sheet.rows[0]
        upright = [
            {"name": c, "about": "", "cells": [_cell(r)], "n": f"{r.n:,}", "chance": number(chance_of(r))}
            for c, r in row.cells.items()
        ]
        return {"title": sheet.title, "head": " · ".join([row.dataset, *row.about]), "first": "metric",
                "columns": ["value"], "rows": upright, "n": True, "chance": True}  # fmt: skip
    lines: list[dict[str, Any]] = []
    alone = len({row.dataset for row in sheet.rows}) == 1 and all(row.about for row in sheet.rows)
    for row in sheet.rows:
        cells = [row.cells.get(column) for column in columns]
        told = {"n": "" if row.n is None else f"{row.n:,}", "chance": number(row.chance)}
        shown = [record and _cell(record, sheet.beside(record)) for record in cells]
        name, about = (", ".join(row.about), "") if alone else (row.dataset, ", ".join(row.about))
        lines.append({"name": name, "about": about, "cells": shown, **told})
    settings = any("/" in column for column in columns)
    first = sheet.rows[0].dataset if alone else "setting" if settings else "data set"
    return {"title": sheet.title, "head": "", "first": first, "columns": columns, "rows": lines, "n": sheet.own_n,
            "chance": sheet.own_chance and any(row.chance is not None for row in sheet.rows)}  # fmt: skip


def _cell(record: Record, beside: str = "") -> dict[str, Any]:
    """One number with its interval; `name` is what programs call it."""
    return {
        "value": number(record.value),
        "interval": interval(record),
        "under": beside,
        "name": record.name,
        "sure": record.context.get("excludes_0") is True,
    }


def _pictures(figures: dict[str, bytes]) -> list[dict[str, Any]]:
    """Pictures in order; where there are many, those of one data set ("DATASET: ...") are folded into one line."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, png in figures.items():
        dataset, _, rest = name.partition(": ")
        key = dataset if rest and len(figures) > MANY_PICTURES else ""
        groups.setdefault(key, []).append((name, base64.b64encode(png).decode()))
    return [{"name": name, "figures": found} for name, found in groups.items()]


def _examples(report: "Report") -> dict[str, Any]:
    held = in_page(report.examples)
    total = sum(len(group) for group in report.examples.values())
    shown = [example for group in held.values() for example in group]
    groups = [
        {
            "name": title,
            "items": [
                {
                    "example": example,
                    "audio": example.type.startswith("audio/"),
                    "score": number(example.score),
                    "data": f"data:{example.type};base64,{base64.b64encode(example.media).decode()}",
                }
                for example in group
            ],
        }
        for title, group in held.items()
    ]
    size = sum(len(example.media) for example in shown)
    return {"groups": groups, "total": total, "left_out": total - len(shown), "kilobytes": f"{size / 1000:,.0f}",
            "most": f"{MOST_BYTES / 1e6:g}"}  # fmt: skip


def _bar(record: Record) -> dict[str, float | None] | None:
    """Where value, interval and chance lie on a line from 0 to 1, in percent; None for counts and differences."""
    beside = [v for v in (record.low, record.high, record.chance) if v is not None]
    if (
        record.value is None
        or isinstance(record.value, int)
        or not beside
        or any(not 0 <= v <= 1 for v in (record.value, *beside))
        or is_difference(record)
    ):
        return None
    low = record.value if record.low is None else record.low
    high = record.value if record.high is None else record.high
    return {
        "value": round(100 * record.value, 2),
        "low": round(100 * low, 2),
        "width": round(100 * (high - low), 2),
        "chance": None if record.chance is None else round(100 * record.chance, 2),
    }


def _dotted(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [pair for k, v in value.items() for pair in _dotted(v, f"{prefix}.{k}" if prefix else k)]
    if value in ({}, []):
        return [] if not prefix else [(prefix, DASH)]
    if isinstance(value, list) and any(isinstance(v, dict) for v in value):
        return [pair for i, v in enumerate(value) for pair in _dotted(v, f"{prefix}.{i}")]
    return [(prefix, value if isinstance(value, str) else cell_exact(value))]


def cell_exact(value: Any) -> str:
    """A setting as it was written: every digit of a number counts there."""
    return ", ".join(map(cell_exact, value)) if isinstance(value, list) else DASH if value is None else str(value)
