"""The report of a comparison: the verdict, the picture of quality against seconds, the table, what was left out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from xmodal.evaluation.statistics.drawn_interval import drawn_interval
from xmodal.provenance import made_here
from xmodal.report.progress_figure import quality_against_seconds
from xmodal.report.report import Record, Report, read_report
from xmodal.training.comparison.outcomes import Outcome, dev_value, matrix
from xmodal.training.comparison.plan import Candidate, Plan, untuned
from xmodal.training.comparison.verdict import NO_INTERVAL, Outcomes, Verdict, gap, told, verdict

OFF_BUDGET = 0.15  # of the budget: runs that are off by more are told


def comparison_report(plan: Plan, outcomes: Sequence[Outcome], trained: Mapping[Candidate, Sequence[Path]]) -> Report:
    """Everything that is said of a finished comparison.

    Args:
        plan: with what was left out.
        outcomes: of every objective, under the setting that dev chose.
        trained: the runs of every candidate, by seed.

    Raises:
        UserError: runs that were not tested on the same items.
    """
    report = Report(title=f"Which objective? {plan.output}")
    rows: dict[str, dict[str, object]] = {each.candidate.objective: _costs(each) for each in outcomes}
    verdicts, seeds = list[tuple[str, Verdict]](), list[dict[str, object]]()
    spans: dict[str, tuple[float, float]] = {}
    for test in plan.tests:
        metric, items, hits = plan.metric[test], None, dict[str, Outcomes]()
        for each in outcomes:
            hits[each.candidate.objective], items = matrix(each.reports, test, metric, items)
        assert items is not None
        clusters = items["cluster"].to_numpy()
        found = verdict(hits, clusters, len(plan.tests))
        verdicts.append((f"{test}/{metric}", found))
        first = next(iter(hits))
        for each in outcomes:
            name = each.candidate.objective
            record = _record(each, f"{test}/{metric}", hits[name], clusters)
            report.records.append(record)
            spans.setdefault(name, _limits(record))
            rows[name][f"{test}/{metric} [95%]"] = _told(record.value, record.low, record.high)
            if name != first:
                apart = gap(name, first, hits, clusters)
                called = f"{test}/{metric} minus {first}"
                report.records.append(
                    Record(name, called, apart.value, apart.low, apart.high, len(items), 0.0, record.context)
                )
                rows[name][f"minus {first} [95%]" + (f" ({test})" if len(plan.tests) > 1 else "")] = apart.text
            seeds += [
                {"objective": name, "seed": seed, "test": f"{test}/{metric}", "value": float(value)}
                for seed, value in zip(plan.seeds, hits[name].mean(1), strict=True)
            ]
    report.answer = [found.sentence(metric) for metric, found in verdicts]
    report.notes = _notes(plan, outcomes)
    _pictures(report, plan, outcomes, spans)
    report.tables["Objectives"] = pd.DataFrame(list(rows.values())).rename(columns={"dev": _dev_name(plan)})
    report.tables["The leader against the others"] = _gap_table(verdicts)
    if len(trained) > len(outcomes):
        report.tables["Every setting on dev"] = _settings(plan, trained)
    report.tables["Every seed"] = pd.DataFrame(seeds)
    if plan.left_out:
        report.tables["Left out"] = pd.DataFrame(list(plan.left_out.items()), columns=["objective", "why"])
    report.provenance = {"comparison": plan.request.model_dump(mode="json"), **made_here()}
    return report


def _costs(outcome: Outcome) -> dict[str, object]:
    return {
        "objective": outcome.candidate.objective,
        "setting": outcome.candidate.setting or "as given",
        "dev": outcome.dev,
        "seconds": round(outcome.cost("training_seconds"), 1),
        "steps": outcome.steps,
        "peak memory (MB)": round(outcome.cost("peak_memory_mb")),
        "effective positives": outcome.positives,
    }


def _record(outcome: Outcome, metric: str, hits: Outcomes, clusters: np.ndarray) -> Record:
    low, high = drawn_interval(hits, clusters)
    by_seed = hits.mean(1)
    chance = next((r.chance for r in outcome.reports[0].records if r.name == metric), None)
    context = {
        "seeds": len(hits),
        "setting": outcome.candidate.setting or "as given",
        "lowest seed": f"{by_seed.min():.3f}",
        "highest seed": f"{by_seed.max():.3f}",
        "intervals_resample": "seeds and the test's clusters" if len(hits) > 1 else "the test's clusters",
    }
    return Record(outcome.candidate.objective, metric, float(hits.mean()), low, high, hits.shape[1], chance, context)


def _limits(record: Record) -> tuple[float, float]:
    return (np.nan, np.nan) if record.low is None or record.high is None else (record.low, record.high)


def _told(value: float | None, low: float | None, high: float | None) -> str:
    """A record's value and limits; a record has None for NaN."""
    return "" if value is None else told(value, np.nan if low is None else low, np.nan if high is None else high)


def _dev_name(plan: Plan) -> str:
    return "dev: " + ", ".join(f"{name}/{plan.metric[name]}" for name in plan.dev) if plan.dev else "dev"


def _notes(plan: Plan, outcomes: Sequence[Outcome]) -> list[str]:
    notes = []
    if len(plan.seeds) == 1:
        notes.append("one seed: the intervals are about the items alone; another seed may say otherwise.")
    if not plan.dev:
        notes.append(
            "no dev split: nothing was chosen, and quality is drawn at the end alone, from the test; for curves name "
            "an evaluator with --dev."
        )
    budget = plan.budget.seconds
    seconds = {each.candidate.objective: each.cost("training_seconds") for each in outcomes}
    if budget is not None:
        off = {name: value for name, value in seconds.items() if abs(value / budget - 1) > OFF_BUDGET}
        far = "; more than 15% off: " + ", ".join(f"{name} {value:.3g} s" for name, value in off.items()) if off else ""
        low, high = min(seconds.values()), max(seconds.values())
        notes.append(
            f"budget: {budget:g} s of training a run; the steps were fixed by timing each objective beforehand, and "
            f"the runs took {low:.1f} to {high:.1f} s (means over seeds){far}."
        )
    else:
        notes.append(f"the same steps for all; they took {min(seconds.values()):.1f} to {max(seconds.values()):.1f} s.")
    notes += [f"{name} was given: {'; '.join(said)}." for name, said in plan.said.items()]
    notes += [
        f"{name} has no {' and no '.join(keys)}, which dev chose for others."
        for name, keys in untuned(plan.request).items()
        if name in plan.objectives
    ]
    if plan.config.train.best is not None:
        notes.append("train.best is not used: every run keeps its last weights, so that a second of training is one.")
    if plan.left_out:
        notes.append(f"left out: {len(plan.left_out)} ({', '.join(plan.left_out)}); why is in a table below.")
    for each in outcomes:
        for folder, report in zip(each.folders, each.reports, strict=True):
            own = [note for note in read_report(folder / "report").notes if note.partition(":")[0] in plan.dev]
            notes += [note.replace(str(folder), "the run") for note in [*report.notes, *own]]
    return list(dict.fromkeys(notes))


def _pictures(
    report: Report, plan: Plan, outcomes: Sequence[Outcome], spans: Mapping[str, tuple[float, float]]
) -> None:
    """Quality against seconds: on dev through training; without dev the test at the end, with its interval."""
    seeds = f"means over {len(plan.seeds)} seeds"
    if plan.dev:
        metrics = [f"{name}/{plan.metric[name]}" for name in plan.dev]
        curves = {each.candidate.objective: each.curve(metrics) for each in outcomes}
        label, intervals = f"dev: {', '.join(metrics)}", None
        under = f"{seeds}; dev, on which settings are chosen: the test is in the table"
    else:
        test = plan.tests[0]
        label, intervals = f"test: {test}/{plan.metric[test]}", spans
        values = {r.dataset: r.value for r in report.records if r.name == f"{r.dataset}/{test}/{plan.metric[test]}"}
        curves = {
            each.candidate.objective: [(each.cost("training_seconds"), values[each.candidate.objective] or 0.0)]
            for each in outcomes
        }
        under = f"{seeds}, at the end of training; upright lines: 95% intervals"
    if any(curves.values()):
        name = "Quality against seconds of training"
        report.figures[name] = quality_against_seconds(curves, label, name, intervals, under)


def _gap_table(verdicts: Sequence[tuple[str, Verdict]]) -> pd.DataFrame:
    rows = [
        (
            metric,
            each.first,
            each.second,
            each.value,
            each.low,
            each.high,
            each.excludes_0 if each.has_interval else NO_INTERVAL,
            found.comparisons,
        )
        for metric, found in verdicts
        for each in found.gaps
    ]
    columns = ["test", "leader", "other", "difference", "low", "high", "excludes 0", "corrected for"]
    return pd.DataFrame(rows, columns=columns)


def _settings(plan: Plan, trained: Mapping[Candidate, Sequence[Path]]) -> pd.DataFrame:
    rows = []
    for each, folders in trained.items():
        values = [dev_value(plan, folder) for folder in folders]
        by_seed = {f"seed {seed}": value for seed, value in zip(plan.seeds, values, strict=True)}
        rows.append(
            {"objective": each.objective, "setting": each.setting or "as given", "dev": np.mean(values)} | by_seed
        )
    return pd.DataFrame(rows)
