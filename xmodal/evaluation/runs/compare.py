"""Two runs side by side, item by item.

Input: two reports over the same items. Output: a report with each run's accuracy and their difference, the interval of
which comes from resampling the same items for both. Where items, true labels or candidates differ there is nothing
to compare, and it is refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from xmodal.errors import UserError
from xmodal.evaluation.statistics.metrics import accuracy, bootstrap_interval, paired_interval
from xmodal.report import Record, Report, find_report, read_report

SHOWN = 50  # items in the table of differences

Group = tuple[str, str]  # dataset, protocol


def compare(
    report_a: Report, report_b: Report, names: tuple[str, str] = ("A", "B"), samples: int = 2000, seed: int = 0
) -> Report:
    """Accuracy of both, and A - B with its paired 95% interval, for every data set and protocol both reports hold.

    Items are paired by (dataset, protocol, item) and resampled by their cluster. `names` says how the two are called.
    Record names are "PROTOCOL: NAME" and "PROTOCOL: A - B".

    Raises UserError where nothing is in both, or where items, clusters, true labels or candidates differ.

    Example:
        print(compare(read_report(a), read_report(b), ("cl", "cwcl")).to_text())
    """
    a, b = names
    groups_a, groups_b = _groups(report_a, a), _groups(report_b, b)
    shared = [group for group in groups_a if group in groups_b]
    if not shared:
        raise UserError(
            f"nothing to compare: {a} has {_listed(list(groups_a))}, {b} has {_listed(list(groups_b))}; "
            "evaluate both runs on the same test"
        )
    report = Report(title=f"{a} and {b}, side by side", notes=_notes(report_a, report_b, names))
    rows, differing = [], []
    for dataset, protocol in shared:
        where = f"{dataset}/{protocol}"
        one = groups_a[dataset, protocol]
        two = _aligned(one, groups_b[dataset, protocol], where, names)
        if not _same_candidates(report_a, report_b, dataset, protocol, names):
            report.notes.append(f"{where}: the candidates are not written in both reports, so they were not compared.")
        hits = one["correct"].to_numpy(), two["correct"].to_numpy()
        clusters = one["cluster"].to_numpy()
        context: dict[str, Any] = {"protocol": protocol, "clusters": int(one["cluster"].nunique())}
        context["candidates"] = _candidates(report_a, dataset, protocol) or "not written down"
        chance = _chance(report_a, dataset, protocol)
        values = accuracy(hits[0]), accuracy(hits[1])
        for name, mine, value in zip(names, hits, values, strict=True):
            low, high = bootstrap_interval(mine, clusters, samples, seed)
            report.records.append(Record(dataset, f"{protocol}: {name}", value, low, high, len(one), chance, context))
        low, high = paired_interval(*hits, clusters, samples, seed)
        gap, sure = values[0] - values[1], low > 0 or high < 0
        context = context | {"excludes_0": sure}
        report.records.append(Record(dataset, f"{protocol}: {a} - {b}", gap, low, high, len(one), 0.0, context))
        rows.append((dataset, protocol, len(one), *values, gap, low, high, sure))
        differing.append(_differing(one, two, dataset, protocol, names))
    for only, name in ((groups_a.keys() - groups_b.keys(), a), (groups_b.keys() - groups_a.keys(), b)):
        if only:
            report.notes.append(f"In {name} only, not compared: {_listed(sorted(only))}.")
    columns = ["dataset", "protocol", "n", a, b, f"{a} - {b}", "low", "high", "excludes 0"]
    report.tables["Accuracy and difference"] = pd.DataFrame(rows, columns=columns)
    items = pd.concat(differing, ignore_index=True)
    report.tables[f"Items answered differently (the first {min(SHOWN, len(items))} of {len(items)})"] = items[:SHOWN]
    report.provenance = {"compared": {a: report_a.provenance, b: report_b.provenance}, "samples": samples, "seed": seed}
    return report


def compare_runs(run_a: Path, run_b: Path, out: Path | None = None) -> tuple[Report, Path]:
    """Compare two run folders (their `report` subfolders) or report folders, and write the comparison.

    It goes to `out`, by default RUN_A/compare_NAME_OF_B. Returns it and where it was written.

    Raises UserError as `compare` does, and where `out` holds a report that is not a comparison: a run's own report
    is never overwritten.
    """
    folders = find_report(Path(run_a)), find_report(Path(run_b))
    homes = [f.parent if f.name == "report" else f for f in (folders[0].resolve(), folders[1].resolve())]
    names = (homes[0].name, homes[1].name) if homes[0].name != homes[1].name else (str(run_a), str(run_b))
    if names[0] == names[1]:
        raise UserError(f"{run_a}: given twice; expected two runs")
    target = homes[0] / f"compare_{homes[1].name}" if out is None else Path(out)
    if (target / "report.json").is_file() and "compared" not in read_report(target).provenance:
        raise UserError(f"{target}: holds a run's own report, which is never overwritten; give another --out")
    report = compare(read_report(folders[0]), read_report(folders[1]), names)
    report.write(target)
    return report, target


def _groups(report: Report, name: str) -> dict[Group, pd.DataFrame]:
    """(dataset, protocol) -> its predictions, indexed by item."""
    predictions = report.predictions
    if not len(predictions):
        raise UserError(f"{name}: its report has no per-item predictions, so it cannot be compared; evaluate it again")
    twice = predictions[predictions.duplicated(["dataset", "protocol", "item"])]
    if len(twice):
        raise UserError(f"{name}: {len(twice)} items occur twice in its predictions, first {twice['item'].iloc[0]!r}")
    grouped = predictions.groupby(["dataset", "protocol"], sort=False)
    return {(str(d), str(p)): frame.set_index("item") for (d, p), frame in grouped}


def _aligned(one: pd.DataFrame, two: pd.DataFrame, where: str, names: tuple[str, str]) -> pd.DataFrame:
    """B's rows in A's order; refused unless both hold the same items with the same labels and clusters."""
    only = one.index.difference(two.index, sort=False), two.index.difference(one.index, sort=False)
    if len(only[0]) or len(only[1]):
        told = [f"{len(x)} only in {name} (first {x[0]!r})" for x, name in zip(only, names, strict=True) if len(x)]
        raise UserError(f"{where}: the items differ, {' and '.join(told)}; evaluate both runs on the same test")
    two = two.loc[one.index]
    for column, what in (("true", "true labels"), ("cluster", "clusters")):
        theirs = one[column].to_numpy(), two[column].to_numpy()
        apart = (theirs[0] != theirs[1]).nonzero()[0]
        if len(apart):
            first = apart[0]
            raise UserError(
                f"{where}: the {what} of {len(apart)} items differ, first {one.index[first]!r}: "
                f"{theirs[0][first]!r} in {names[0]}, {theirs[1][first]!r} in {names[1]}; "
                "evaluate both runs on the same test"
            )
    return two


def _differing(
    one: pd.DataFrame, two: pd.DataFrame, dataset: str, protocol: str, names: tuple[str, str]
) -> pd.DataFrame:
    apart = one["predicted"].to_numpy() != two["predicted"].to_numpy()
    one, two = one[apart], two[apart]
    columns = {"item": one.index, "true": one["true"].to_numpy()}
    answers = {names[0]: one["predicted"].to_numpy(), names[1]: two["predicted"].to_numpy()}
    return pd.DataFrame({"dataset": dataset, "protocol": protocol, **columns, **answers})


def _same_candidates(report_a: Report, report_b: Report, dataset: str, protocol: str, names: tuple[str, str]) -> bool:
    """False where they are not written down; UserError where they differ."""
    listed = _candidates(report_a, dataset, protocol), _candidates(report_b, dataset, protocol)
    if listed[0] is None or listed[1] is None:
        return False
    one, two = set(listed[0]), set(listed[1])
    if one != two:
        apart = sorted(one ^ two)
        raise UserError(
            f"{dataset}/{protocol}: the candidates differ ({len(one)} in {names[0]}, {len(two)} in {names[1]}; "
            f"{len(apart)} in one only, first {apart[0]!r} in {names[0] if apart[0] in one else names[1]}); "
            "evaluate both runs with the same candidates"
        )
    return True


def _records(report: Report, dataset: str, protocol: str) -> list[Record]:
    """The records the protocol's predictions stand behind: those of its name, else all of the data set."""
    mine = [r for r in report.records if r.dataset == dataset]
    return [r for r in mine if protocol in (r.metric, r.context.get("protocol"))] or mine


def _candidates(report: Report, dataset: str, protocol: str) -> list[str] | None:
    for record in _records(report, dataset, protocol):
        if isinstance(record.context.get("candidates"), list):
            return [str(c) for c in record.context["candidates"]]
    return None


def _chance(report: Report, dataset: str, protocol: str) -> float | None:
    return next((r.chance for r in _records(report, dataset, protocol) if r.chance is not None), None)


def _notes(report_a: Report, report_b: Report, names: tuple[str, str]) -> list[str]:
    """The notes of both reports; a note that only one of them has begins with the name of its run."""
    notes = [n if n in report_b.notes else f"{names[0]}: {n}" for n in report_a.notes]
    return notes + [f"{names[1]}: {n}" for n in report_b.notes if n not in report_a.notes]


def _listed(groups: Sequence[Group]) -> str:
    return ", ".join("/".join(g) for g in groups[:4]) + (f" and {len(groups) - 4} more" if len(groups) > 4 else "")
