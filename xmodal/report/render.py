"""A report as people read it: a table for the terminal, Markdown, and one HTML file that needs nothing else.

Input: a `Report`. Output: text. Numbers show three decimals; a missing one shows as a dash.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import pandas as pd

from xmodal.report.record import Record, json_ready

if TYPE_CHECKING:
    from xmodal.report.report import Report

DASH = "–"
HEADER = ("dataset", "metric", "value [95% interval]", "n", "chance")
_LONG_LIST = 8  # entries; a longer list starts with how many it has
_LONG_TABLE = 24  # rows; a longer table is folded away


def number(value: float | None) -> str:
    """Three decimals, of a smaller number one digit, of a count none; or a dash."""
    if value is None or not math.isfinite(value):
        return DASH
    if isinstance(value, int):
        return f"{value:,}"
    if 0 < abs(value) < 0.0005:  # a chance among thousands is not 0
        return f"{value:.1g}"
    return f"{value:,.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def cell(value: Any) -> str:
    """A table cell: numbers by `number`, truth as yes and no, nothing as a dash."""
    if value is None or value is pd.NaT or value is pd.NA:
        return DASH
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return number(float(value))
    if isinstance(value, list | tuple):
        count = f"{len(value)}: " if len(value) > _LONG_LIST else ""
        return count + ", ".join(cell(v) for v in value)
    return str(value)


def interval(record: Record) -> str:
    """`[low, high]`, or nothing where there is none."""
    return "" if record.low is None or record.high is None else f"[{number(record.low)}, {number(record.high)}]"


def text(report: "Report") -> str:
    """The records as aligned columns, then the notes."""
    rows = [(r.dataset, r.metric, f"{number(r.value)} {interval(r)}".rstrip(), str(r.n), number(r.chance))
            for r in report.records]  # fmt: skip
    table = aligned(HEADER, rows, right={3, 4}) if rows else ["nothing was measured"]
    lines = [report.title, "", *table]
    if report.notes:
        lines += ["", *(f"note: {note}" for note in report.notes)]
    return "\n".join(lines)


def table_text(table: pd.DataFrame) -> str:
    """A frame as aligned columns for the terminal; numbers to the right."""
    right = {i for i, c in enumerate(table.columns) if _numeric(table, c)}
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


def contexts(records: Sequence[Record]) -> dict[str, dict[str, str]]:
    """For every data set, how it was measured: the context's entries, and where its metrics differ, which has which."""
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for record in records:
        entries = found.setdefault(record.dataset, {})
        for key, value in record.context.items():
            entries.setdefault(key, {}).setdefault(cell(value), []).append(record.metric)
    total = {d: [r.metric for r in records if r.dataset == d] for d in found}
    return {
        dataset: {
            key: next(iter(values))
            if len(values) == 1 and next(iter(values.values())) == total[dataset]
            else "; ".join(f"{value} ({', '.join(metrics)})" for value, metrics in values.items())
            for key, values in entries.items()
        }
        for dataset, entries in found.items()
        if entries
    }


def markdown(report: "Report", figures: Mapping[str, str]) -> str:
    """The report as Markdown; `figures` gives each picture's path beside it."""
    rows = [(r.dataset, r.metric, number(r.value), interval(r), str(r.n), number(r.chance)) for r in report.records]
    parts = [f"# {report.title}"]
    if report.notes:
        parts.append("\n".join(f"> - {_flat(note)}" for note in report.notes))
    header = ("dataset", "metric", "value", "95% interval", "n", "chance")
    parts += ["## Results", markdown_table(header, rows, {2, 3, 4, 5}) if rows else "Nothing was measured."]
    measured = contexts(report.records)
    if measured:
        parts.append("## How it was measured")
    for dataset, entries in measured.items():
        parts += [f"### {_flat(dataset)}", "\n".join(f"- **{_flat(k)}**: {_flat(v)}" for k, v in entries.items())]
    for name, path in figures.items():
        parts += [f"## {_flat(name)}", f"![{_flat(name)}]({path})"]
    for name, table in report.tables.items():
        right = {i for i, c in enumerate(table.columns) if _numeric(table, c)}
        cells = [tuple(cell(v) for v in row) for row in table.itertuples(index=False, name=None)]
        parts += [f"## {_flat(name)}", markdown_table([str(c) for c in table.columns], cells, right)]
    if report.provenance:
        provenance = json.dumps(json_ready(report.provenance), indent=2, ensure_ascii=False)
        parts += ["## Provenance", f"```json\n{provenance}\n```"]
    return "\n\n".join(parts) + "\n"


def html(report: "Report") -> str:
    """The report as one HTML file: styles and pictures inside, no script, nothing fetched."""
    return page(
        "report.html.j2",
        title=report.title,
        notes=report.notes,
        groups=_groups(report.records),
        has_bars=any(_bar(r) for r in report.records),
        contexts=contexts(report.records),
        figures={name: base64.b64encode(png).decode("ascii") for name, png in report.figures.items()},
        tables=[
            {
                "name": name,
                "columns": [(str(c), _numeric(table, c)) for c in table.columns],
                "rows": [[cell(v) for v in row] for row in table.itertuples(index=False, name=None)],
                "long": len(table) > _LONG_TABLE,
            }
            for name, table in report.tables.items()
        ],
        predictions=len(report.predictions),
        provenance=_dotted(json_ready(report.provenance)),
        long_text=160,
    )


def page(template: str, **values: Any) -> str:
    """A page of this package's templates; what is put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**values)


def _groups(records: Sequence[Record]) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(record.dataset, []).append(
            {
                "metric": record.metric,
                "value": number(record.value),
                "interval": interval(record) or DASH,
                "n": f"{record.n:,}",
                "chance": number(record.chance),
                "bar": _bar(record),
            }
        )
    return [{"dataset": dataset, "rows": rows} for dataset, rows in groups.items()]


def _bar(record: Record) -> dict[str, float | None] | None:
    """Where value, interval and chance lie on a line from 0 to 1, in percent; None for counts and differences."""
    beside = [v for v in (record.low, record.high, record.chance) if v is not None]
    if (
        record.value is None
        or isinstance(record.value, int)
        or not beside
        or any(not 0 <= v <= 1 for v in (record.value, *beside))
    ):
        return None
    if " - " in record.metric or " minus " in record.metric:
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


def _numeric(table: pd.DataFrame, column: Any) -> bool:
    return bool(pd.api.types.is_numeric_dtype(table[column]) and not pd.api.types.is_bool_dtype(table[column]))


def _flat(value: str) -> str:
    """On one line, and no HTML: Markdown would hand it on."""
    return " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> str:
    """A table in Markdown; columns in `right` are numbers."""

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(_flat(c).replace("|", "\\|") for c in row) + " |"

    rule = "|" + "|".join(" ---: " if i in right else " --- " for i in range(len(header))) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])
