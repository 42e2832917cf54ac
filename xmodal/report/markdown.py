"""A report as Markdown, in the order of its page: the answer, the table, pictures, items, then how it was measured.

Input: a `Report`, and where its pictures lie. Output: text.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xmodal.report.cells import DASH, cell, interval, number, numeric, spanned
from xmodal.report.reading.families import Sheet, sheets
from xmodal.report.reading.headline import answer
from xmodal.report.reading.measured import Measured, measured
from xmodal.report.record import Record, json_ready

if TYPE_CHECKING:
    from xmodal.report.report import Report


def markdown(report: "Report", figures: Mapping[str, str], media: Mapping[str, Sequence[str]] | None = None) -> str:
    """The report as Markdown.

    Args:
        report: all of it.
        figures: title of a picture -> its path beside the text.
        media: title of a group of examples -> the path of each.
    """
    found = answer(report.records, report.notes, report.answer)
    parts = [f"# {report.title}"]
    for sentence in found.sentences:
        warnings = [f"> - {_flat(warning)}" for warning in sentence.warnings]
        parts += [f"**{_flat(sentence.text)}**", *(["\n".join(warnings)] if warnings else [])]
    if found.notes:
        parts.append("\n".join(f"> - {_flat(note)}" for note in found.notes))
    parts.append("## Results")
    for sheet in sheets(report.records):
        parts += [*([f"### {sheet.title}"] if sheet.title else []), _sheet(sheet)]
    parts += [] if report.records else ["Nothing was measured."]
    for name, path in figures.items():
        parts += [f"## {_flat(name)}", f"![{_flat(name)}]({path})"]
    for name, paths in (media or {}).items():
        rows = [(f"[{path}]", e.true, e.predicted, number(e.score), " ".join((e.said, e.cut)).strip())
                for path, e in zip(paths, report.examples[name], strict=True)]  # fmt: skip
        table = markdown_table(("item", "is", "taken for", "score", "said"), rows, {3})
        for path in paths:
            table = table.replace(f"[{path}]", f"![]({path})" if path.endswith(("jpg", "png")) else f"[listen]({path})")
        parts += [f"## {_flat(name)}", table]
    for name, frame in report.tables.items():
        right = {i for i, c in enumerate(frame.columns) if numeric(frame, c)}
        cells = [tuple(cell(v) for v in row) for row in frame.itertuples(index=False, name=None)]
        parts += [f"## {_flat(name)}", markdown_table([str(c) for c in frame.columns], cells, right)]
    conditions = measured(report.records)
    parts += ["## How it was measured"] if conditions else []
    for dataset, each in conditions.items():
        parts += [f"### {_flat(dataset)}", *_conditions(each)]
    parts += ["## Every number by its name", _every_number(report.records)] if report.records else []
    if report.provenance:
        provenance = json.dumps(json_ready(report.provenance), indent=2, ensure_ascii=False)
        parts += ["## Provenance", f"```json\n{provenance}\n```"]
    return "\n\n".join(parts) + "\n"


def _sheet(sheet: Sheet) -> str:
    columns = sheet.columns
    ends = [*(["n"] * sheet.own_n), *(["chance"] * sheet.own_chance)]
    rows = []
    for row in sheet.rows:
        cells = (row.cells.get(column) for column in columns)
        told = {"n": DASH if row.n is None else f"{row.n:,}", "chance": number(row.chance)}
        rows.append(
            (row.dataset, ", ".join(row.about), *(_cell(sheet, r) for r in cells), *(told[end] for end in ends))
        )
    header = ("data set", "", *columns, *ends)
    return markdown_table(header, rows, set(range(2, len(header))))


def _cell(sheet: Sheet, record: Record | None) -> str:
    if record is None:
        return ""
    beside = sheet.beside(record)
    return spanned(record.value, record.low, record.high) + (f" ({beside})" if beside else "")


def _conditions(found: Measured) -> list[str]:
    common = "\n".join(f"- **{_flat(key)}**: {_flat(value)}" for key, value in found.common)
    table = markdown_table(("", *found.columns), [(key, *cells) for key, cells in found.apart], set())
    return [*([common] if found.common else []), *([table] if found.apart else [])]


def _every_number(records: Sequence[Record]) -> str:
    rows = [(r.dataset, r.metric, number(r.value), interval(r), str(r.n), number(r.chance)) for r in records]
    return markdown_table(("dataset", "metric", "value", "95% interval", "n", "chance"), rows, {2, 3, 4, 5})


def _flat(value: str) -> str:
    """On one line, and no HTML: Markdown would hand it on."""
    return " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> str:
    """A table in Markdown; columns in `right` are numbers."""

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(_flat(c).replace("|", "\\|") for c in row) + " |"

    rule = "|" + "|".join(" ---: " if i in right else " --- " for i in range(len(header))) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])
