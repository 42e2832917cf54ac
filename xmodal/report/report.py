"""`Report`: the numbers, what they were measured on, every item's outcome, tables and pictures, as one folder.

Input: records, per-item outcomes, pictures. Output: `predictions.parquet`, `report.json`, `report.md`, a
self-contained `report.html` and `figures/*.png`, replaced as a whole (see folder.py); `read_report` reads them back.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from xmodal.errors import UserError
from xmodal.report import render
from xmodal.report.examples import Example
from xmodal.report.folder import FIGURES, INDEX, figures_of, finish, replace_files
from xmodal.report.markdown import markdown
from xmodal.report.record import Record, json_ready

__all__ = ["PREDICTION_COLUMNS", "Record", "Report", "find_report", "read_report"]

PREDICTION_COLUMNS = ("dataset", "protocol", "item", "cluster", "true", "predicted", "score", "correct")
_TEXT_COLUMNS = PREDICTION_COLUMNS[:6]
_PREDICTIONS = "predictions.parquet"


def _no_predictions() -> pd.DataFrame:
    return _typed(pd.DataFrame({column: [] for column in PREDICTION_COLUMNS}))


def _typed(predictions: pd.DataFrame) -> pd.DataFrame:
    missing = [c for c in PREDICTION_COLUMNS if c not in predictions.columns]
    if missing:
        raise ValueError(f"predictions: columns {', '.join(missing)} are missing; expected {PREDICTION_COLUMNS}")
    kinds = {**dict.fromkeys(_TEXT_COLUMNS, "str"), "score": "float64", "correct": "bool"}
    return predictions.astype(kinds).reset_index(drop=True)


@dataclass
class Report:
    """What was measured, and how far it can be trusted.

    records      one per number
    provenance   where it comes from: the run, versions, config (any nesting of JSON-able values)
    predictions  one row per item: dataset, protocol, item, cluster, true, predicted, score, correct; two runs can be
                 compared only through these
    tables       title -> frame, such as recall per intent
    figures      title -> PNG bytes (see figures.py)
    notes        what a reader must know first: "the speech is TTS", "classes seen in training"
    examples     title -> items that are shown: errors as pictures or to be heard
    answer       sentences that say what was found, where the records alone do not; else they are made of these

    Example:
        report = Report([Record("heldout", "accuracy", 0.83, 0.79, 0.86, n=412, chance=0.1)])
        report.write(Path("runs/demo/report"))
    """

    records: list[Record] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    predictions: pd.DataFrame = field(default_factory=_no_predictions)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    title: str = "xmodal report"
    examples: dict[str, list[Example]] = field(default_factory=dict)
    answer: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.predictions = _typed(self.predictions)

    def merge(self, other: "Report") -> "Report":
        """A new report with what both hold, under this one's title.

        Equal notes, and equal entries of one name, are kept once; where one name means two things the other's entry
        becomes "name (2)", so nothing is lost.
        """
        frames = [r.predictions for r in (self, other) if len(r.predictions)]
        return Report(
            records=[*self.records, *other.records],
            provenance=_united(self.provenance, other.provenance),
            predictions=pd.concat(frames, ignore_index=True) if frames else _no_predictions(),
            tables=_united(self.tables, other.tables),
            figures=_united(self.figures, other.figures),
            notes=list(dict.fromkeys([*self.notes, *other.notes])),
            title=self.title,
            examples=_united(self.examples, other.examples),
            answer=list(dict.fromkeys([*self.answer, *other.answer])),
        )

    def value(self, metric: str, dataset: str | None = None) -> float:
        """The value of `metric` on `dataset`; a full name DATASET/METRIC does for both. NaN where it has no value.

        Raises UserError where no record, or records of several data sets, go by that name.
        """
        found = [r for r in self.records if (r.metric == metric and dataset in (None, r.dataset)) or r.name == metric]
        if len(found) != 1:
            wanted = metric if dataset is None else f"{dataset}/{metric}"
            known = ", ".join(dict.fromkeys(r.name for r in self.records)) or "none"
            raise UserError(f"metric {wanted!r}: {len(found)} records go by it, expected one of: {known}")
        return math.nan if found[0].value is None else found[0].value

    def to_text(self) -> str:
        """Its own `answer` where it has one, the records as an aligned table for the terminal, the notes under it.

        Sentences made of the records are in the pages alone: the table under them would say the same again.
        """
        return render.text(self)

    def write(self, folder: Path) -> None:
        """Write the report into `folder`, in place of an older one there. Other files in `folder` stay.

        Raises whatever keeps the new report from being made; the older report is then untouched.
        """
        replace_files(Path(folder), self._make)

    def _make(self, folder: Path) -> None:
        shown = [(title, each) for title, group in self.examples.items() for each in group]
        names = _file_names(
            [*((title, ".png") for title in self.figures), *((title, each.suffix) for title, each in shown)]
        )
        figures = dict(zip(self.figures, names, strict=False))
        media: dict[str, list[str]] = {title: [] for title in self.examples}
        for (title, _), path in zip(shown, names[len(figures) :], strict=True):
            media[title].append(path)
        content = {
            "title": self.title,
            "records": [r.as_json() for r in self.records],
            "provenance": json_ready(self.provenance),
            "notes": list(self.notes),
            "tables": {name: _table_json(table) for name, table in self.tables.items()},
            "figures": figures,
            "examples": {
                title: [each.as_json(path) for each, path in zip(group, media[title], strict=True)]
                for title, group in self.examples.items()
            },
            "answer": list(self.answer),
        }
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / INDEX).write_text(text + "\n", encoding="utf-8")
        _typed(self.predictions).to_parquet(folder / _PREDICTIONS, index=False)
        (folder / "report.md").write_text(markdown(self, figures, media), encoding="utf-8")
        (folder / "report.html").write_text(render.html(self), encoding="utf-8")
        content_of = [*self.figures.values(), *(each.media for _, each in shown)]
        for path, data in zip(names, content_of, strict=True):
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(data)


def find_report(run: Path) -> Path:
    """The report folder that `run` means: its `report` subfolder, or `run` itself. UserError where neither is one."""
    run = Path(run)
    for folder in (run / "report", run):
        if (folder / INDEX).is_file() or (folder / ".report.ready").is_dir():
            return folder
    found = "no report there (report.json)" if run.is_dir() else "no such folder"
    raise UserError(f"{run}: {found}; expected a run folder or a report folder: make one, as with xmodal zero-shot")


def read_report(folder: Path) -> Report:
    """The report that `write(folder)` wrote.

    Raises UserError where there is none, or where it is damaged.
    """
    folder = Path(folder)
    finish(folder)
    if not (folder / INDEX).is_file():
        raise UserError(f"{folder}: no report there (no {INDEX}); make one, as with xmodal zero-shot")
    try:
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return Report(
            records=[Record(**r) for r in content["records"]],
            provenance=content["provenance"],
            predictions=pd.read_parquet(folder / _PREDICTIONS),
            tables={k: pd.DataFrame(t["rows"], columns=t["columns"]) for k, t in content.get("tables", {}).items()},
            figures={k: (folder / path).read_bytes() for k, path in figures_of(folder / INDEX).items()},
            notes=content["notes"],
            title=content.get("title", "xmodal report"),
            examples={
                title: [Example.read(folder, each) for each in group]
                for title, group in content.get("examples", {}).items()
            },
            answer=content.get("answer", []),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{folder}: the report is damaged ({type(error).__name__}: {reason}); make it again") from error


def _table_json(table: pd.DataFrame) -> dict[str, Any]:
    rows = [[None if pd.api.types.is_scalar(v) and pd.isna(v) else v for v in row] for row in _rows(table)]
    return {"columns": [str(c) for c in table.columns], "rows": json_ready(rows)}


def _rows(table: pd.DataFrame) -> Iterable[tuple[Any, ...]]:
    return table.itertuples(index=False, name=None)


def _united(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    both = dict(first)
    for name, value in second.items():
        free, number = name, 1
        while free in both and not _same(both[free], value):
            number += 1
            free = f"{name} ({number})"
        both[free] = value
    return both


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, pd.DataFrame) and isinstance(b, pd.DataFrame):
        return a.equals(b)
    return bool(json_ready(a) == json_ready(b))


def _file_names(wanted: Iterable[tuple[str, str]]) -> list[str]:
    """A path for each title and suffix, no two alike."""
    names: list[str] = []
    for title, suffix in wanted:
        stem = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:80] or "figure"
        name, number = f"{FIGURES}{stem}{suffix}", 1
        while name in names:
            number += 1
            name = f"{FIGURES}{stem}_{number}{suffix}"
        names.append(name)
    return names
