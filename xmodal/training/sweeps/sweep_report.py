"""The table of a finished sweep: means over the items of all repeats, and paired differences from the baseline."""

import numpy as np
import pandas as pd

from xmodal.errors import UserError
from xmodal.evaluation.statistics.metrics import bootstrap_interval, paired_interval
from xmodal.report.report import Record, Report, read_report
from xmodal.training.sweeps.plan import Sweep, plan


def gather(sweep: Sweep) -> Report:
    """The table of a finished sweep: means over the items of all repeats, and differences from the baseline."""
    predictions: dict[tuple[str, str], pd.DataFrame] = {}
    notes: list[str] = []
    rows: list[dict[str, object]] = []
    planned, over = plan(sweep), ", ".join(sweep.over)
    for run in planned:
        report = read_report(run.folder / "report")
        notes += [note for note in report.notes if note not in notes]
        for metric in sweep.metrics:
            dataset, protocol = metric.split("/")
            frame = report.predictions
            frame = frame[(frame["dataset"] == dataset) & (frame["protocol"] == protocol)].copy()
            if frame.empty:
                raise UserError(f"{run.folder}: its report has no per-item outcomes for {metric!r}")
            frame["repeat"] = run.repeat
            if sweep.resample:
                frame["cluster"] = run.repeats[0]
            key = (run.setting, metric)
            predictions[key] = pd.concat([predictions[key], frame]) if key in predictions else frame
            chance = next((record.chance for record in report.records if record.name == metric), None)
            row = {"setting": run.setting, "repeat": run.repeat, "metric": metric, "value": frame["correct"].mean()}
            rows.append(row | {"chance": chance, "n": len(frame)})
    if any(frame["item"].duplicated().any() for frame in predictions.values()):
        notes.append(f"n counts an item once in every {over} that tested it")
    table = pd.DataFrame(rows)
    result = Report(
        title=f"Sweep {sweep.output}",
        records=_means(sweep, table, predictions),
        notes=notes,
        provenance={"sweep": sweep.model_dump(mode="json")},
    )
    wide = table.pivot_table(index=["metric", "setting"], columns="repeat", values="value", sort=False)
    result.tables[f"every {over}"] = wide.reset_index()
    return result


def _means(sweep: Sweep, table: pd.DataFrame, predictions: dict[tuple[str, str], pd.DataFrame]) -> list[Record]:
    records = []
    for (setting, metric), frame in predictions.items():
        runs = table[(table["setting"] == setting) & (table["metric"] == metric)].set_index("repeat")
        values, chances = runs["value"], runs["chance"].astype(float)
        chance = None if chances.isna().any() else float(np.average(chances, weights=runs["n"]))
        correct = frame["correct"].to_numpy()
        low, high = bootstrap_interval(correct, frame["cluster"].to_numpy())
        context = {
            "repeats": len(values),
            "worst": f"{values.idxmin()} ({values.min():.3f})",
            "best": f"{values.idxmax()} ({values.max():.3f})",
            "intervals_resample": sweep.over[0] if sweep.resample else "the test's clusters",
        }
        # over items, as the interval and the difference are: a fold of more items counts for more
        records.append(Record(setting, metric, float(correct.mean()), low, high, len(frame), chance, context))
        if sweep.baseline in (None, setting):
            continue
        base = predictions[(str(sweep.baseline), metric)]
        both = frame.merge(base, on=["repeat", "item"], suffixes=("", "_base"), validate="one_to_one")
        if len(both) != len(frame) or len(both) != len(base):
            raise UserError(f"{setting} and {sweep.baseline} were not tested on the same items ({metric})")
        ours, theirs = both["correct"].to_numpy(), both["correct_base"].to_numpy()
        low, high = paired_interval(ours, theirs, both["cluster"].to_numpy())
        value = float(np.mean(ours.astype(float) - theirs.astype(float)))
        name = f"{metric} minus {sweep.baseline}"
        records.append(Record(setting, name, value, low, high, len(both), 0.0, context))
    return records
