"""What the runs of a comparison came to: dev and its curve, the test item by item, seconds, memory.

Input: run folders. Output: `Outcome`s, one per objective, of the setting that dev chose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xmodal.config.load import load_config
from xmodal.config.yaml_text import overridden
from xmodal.encoding.kept_features import feature_caches
from xmodal.encoding.loading import load, names_outside_code
from xmodal.errors import UserError
from xmodal.evaluation.evaluator import build_evaluators
from xmodal.evaluation.runs.run_report import run_report
from xmodal.files import read_json
from xmodal.progress import progress_bar
from xmodal.report.report import Report, read_report
from xmodal.runs.metrics_file import read_metrics
from xmodal.training.comparison.plan import FIXED, Candidate, Plan
from xmodal.training.comparison.verdict import Outcomes

TEST = "test"  # the folder of a run's report on the tests
POSITIVES = "effective_positives"


@dataclass(frozen=True)
class Outcome:
    """An objective under the setting that dev chose, over all seeds."""

    candidate: Candidate
    folders: tuple[Path, ...]  # by seed
    dev: float | None
    reports: tuple[Report, ...]  # on the tests, by seed

    def cost(self, name: str) -> float:
        """The mean over seeds of what training.json says."""
        return float(np.mean([read_json(run / "training.json")[name] for run in self.folders]))

    @property
    def steps(self) -> int:
        """Of every run."""
        return max(row["step"] for row in read_metrics(self.folders[0]))

    @property
    def positives(self) -> float | None:
        """Effective positives of a row of targets, mean over seeds of what was logged last; None: no such targets."""
        last = []
        for run in self.folders:
            rows = [[v for k, v in row.items() if k.endswith(POSITIVES)] for row in read_metrics(run)]
            last += [float(np.mean(values)) for values in rows[::-1] if values][:1]
        return float(np.mean(last)) if last else None

    def curve(self, metrics: Sequence[str]) -> list[tuple[float, float]]:
        """(seconds of training, quality), means over seeds and over the metrics, at every judging."""
        return mean_curve([read_metrics(run) for run in self.folders], metrics)


def mean_curve(logs: Sequence[Sequence[Mapping[str, Any]]], metrics: Sequence[str]) -> list[tuple[float, float]]:
    """(seconds, value) at the steps that every run judged; the value is the mean of some metrics and of the runs."""
    found: dict[int, list[tuple[float, float]]] = {}
    for rows in logs:
        for row in rows:
            values = [row[f"eval/{metric}"] for metric in metrics if f"eval/{metric}" in row]
            if values and len(values) == len(metrics):
                found.setdefault(row["step"], []).append((row["train/seconds"], float(np.mean(values))))
    whole = [np.mean(points, axis=0) for _, points in sorted(found.items()) if len(points) == len(logs)]
    return [(float(seconds), float(value)) for seconds, value in whole]


def dev_value(plan: Plan, folder: Path) -> float:
    """The mean over the dev evaluators of a run's metric, by its last weights."""
    report = read_report(folder / "report")
    return float(np.mean([report.value(f"{name}/{plan.metric[name]}") for name in plan.dev]))


def choose(plan: Plan, folders: Mapping[Candidate, Sequence[Path]]) -> dict[Candidate, float | None]:
    """Of every objective the setting with the highest mean on dev over the seeds, of equals the first.

    Args:
        plan: the comparison.
        folders: of every candidate that was trained, by seed.
    """
    if not plan.dev:
        return dict.fromkeys(folders)
    values = {each: float(np.mean([dev_value(plan, run) for run in runs])) for each, runs in folders.items()}
    best: dict[str, Candidate] = {}
    for each, value in values.items():
        if each.objective not in best or value > values[best[each.objective]]:
            best[each.objective] = each
    return {each: values[each] for each in best.values()}


def test_once(plan: Plan, folders: Mapping[Candidate, Sequence[Path]]) -> dict[Path, Report]:
    """The tests' reports of the runs of some candidates, each made once: one that is there is read.

    Code from outside xmodal runs only for a candidate whose own config names such code.
    """
    found: dict[Path, Report] = {}
    evaluators = None
    runs = [(each, run) for each, those in folders.items() for run in those]
    for each, run in progress_bar(runs, desc="tests", unit="run"):
        if not (run / TEST / "report.json").is_file():
            if evaluators is None:
                overrides = overridden(plan.request.overrides, [plan.evaluators(plan.tests), "train.best=null"])
                evaluators = build_evaluators(load_config(plan.request.config, overrides))
            asked = load_config(plan.request.config, overridden(each.overrides, FIXED))
            encoder = load(run, trust_remote_code=names_outside_code(asked))
            encoder.feature_caches = feature_caches(encoder.provenance["towers"])  # a test once, not once a run
            run_report(run, encoder, evaluators, {}, brief=True).write(run / TEST)
        found[run] = read_report(run / TEST)
    return found


def matrix(
    reports: Sequence[Report], test: str, metric: str, items: pd.DataFrame | None
) -> tuple[Outcomes, pd.DataFrame]:
    """Right or wrong [S, m], in the order of `items`; and the items, with their clusters, which are the same for all.

    Raises:
        UserError: no outcomes by item; other items than `items`.
    """
    rows: list[NDArray[np.float64]] = []
    for report in reports:
        frame = report.predictions
        frame = frame[(frame["dataset"] == test) & (frame["protocol"] == metric)].set_index("item")
        if frame.empty or frame.index.has_duplicates:
            raise UserError(f"{report.title}: no outcome of each item for {test}/{metric}; choose another --metric")
        items = frame[["cluster", "true"]] if items is None else items
        if len(frame) != len(items) or not items.index.isin(frame.index).all():
            raise UserError(
                f"{report.title}: not tested on the same items as the others ({test}); its items that cannot be read "
                "stand in its notes; mend them, remove RUN/test of the runs that lack some, and call again"
            )
        rows.append(frame.loc[items.index, "correct"].to_numpy(dtype=np.float64))
    assert items is not None
    return np.stack(rows), items
