"""Many runs, one table: the same config under several settings, each repeated over seeds, folds or speakers.

Enters: a sweep file (below). Leaves: a run folder for every combination, and a report whose records are means over
the items of all repeats, with intervals, the worst repeat, and paired differences from a baseline.

    config: ../fsdd_cwcl.yaml           # relative to the sweep file
    output: runs/fsdd_sweep
    axes:
      objective:
        CL: [objective.kind=infonce]
        CWCL affine: [objective.kind=cwcl]
      seed:
        "0": [seed=0]
        "1": [seed=1]
    over: seed                          # the axis that is averaged
    baseline: CL                        # paired differences from this setting
    metrics: [heldout/accuracy_mean]
"""

import itertools
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from pydantic import ValidationError
from tqdm.auto import tqdm

from xmodal.config.load import load_config
from xmodal.config.schema import RunConfig
from xmodal.config.spec import Spec
from xmodal.config.yaml_text import read_yaml
from xmodal.encoding.store_build import build_store
from xmodal.errors import UserError
from xmodal.evaluation.evaluator import build_evaluators
from xmodal.evaluation.statistics.metrics import bootstrap_interval, paired_interval
from xmodal.report.report import Record, Report, read_report
from xmodal.towers.from_store import StoreTower

TRAIN = Path(__file__).resolve().parents[1] / "train.py"


class Sweep(Spec):
    """A sweep file."""

    config: Path
    output: Path
    axes: dict[str, dict[str, tuple[str, ...]]]
    over: str
    metrics: tuple[str, ...]
    baseline: str | None = None
    resample: bool = False  # intervals resample the repeats (speakers, folds) rather than the test's clusters


@dataclass(frozen=True)
class Planned:
    """One run of a sweep: its setting (all axes but `over`), its repeat, and how to train it."""

    setting: str
    repeat: str
    folder: Path
    overrides: tuple[str, ...]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        UserError: missing, not YAML, an unknown key, or an axis or baseline that is not there.
    """
    try:
        sweep = Sweep.model_validate(read_yaml(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UserError("\n".join(lines)) from None
    if sweep.over not in sweep.axes:
        raise UserError(f"{path}: over: {sweep.over!r} is not one of the axes ({', '.join(sweep.axes)})")
    sweep = sweep.model_copy(update={"config": (path.parent / sweep.config).resolve()})
    planned = plan(sweep)
    if not planned:
        empty = ", ".join(name for name, values in sweep.axes.items() if not values)
        raise UserError(f"{path}: axes: {empty} has no settings")
    folders: dict[Path, Planned] = {}
    for run in planned:
        other = folders.setdefault(run.folder, run)
        if other is not run:
            names = [f"{r.setting} {r.repeat}" for r in (other, run)]
            raise UserError(f"{path}: axes: {names[0]!r} and {names[1]!r} would share {run.folder}; rename one")
    evaluators = load_config(sweep.config).evaluators
    for metric in sweep.metrics:
        if metric.partition("/")[0] not in evaluators or not metric.partition("/")[2]:
            raise UserError(
                f"{path}: metrics: {metric!r}: expected EVALUATOR/METRIC, with one of the config's evaluators "
                f"({', '.join(evaluators)})"
            )
    settings = list(dict.fromkeys(run.setting for run in planned))
    if sweep.baseline is not None and sweep.baseline not in settings:
        raise UserError(f"{path}: baseline: {sweep.baseline!r} is not one of the settings ({', '.join(settings)})")
    return sweep


def plan(sweep: Sweep) -> list[Planned]:
    """Every combination of the axes, repeats of one setting together."""
    names = [name for name in sweep.axes if name != sweep.over]
    runs = []
    for values in itertools.product(*(sweep.axes[name].items() for name in names)):
        setting = ", ".join(label for label, _ in values) or sweep.config.stem
        for repeat, extra in sweep.axes[sweep.over].items():
            folder = sweep.output / re.sub(r"[^\w.-]+", "_", f"{setting}-{repeat}".lower())
            overrides = (*(o for _, chosen in values for o in chosen), *extra)
            runs.append(Planned(setting, repeat, folder, overrides))
    return runs


def run_sweep(sweep: Sweep, jobs: int = 1) -> Report:
    """Train what is not trained yet, `jobs` at a time, and gather the table.

    Raises:
        UserError: a wrong override (found before anything trains), or a run that failed, with its log.
    """
    planned = plan(sweep)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    configs = [_config(sweep, run, threads) for run in planned]
    evaluators = build_evaluators(configs[0])
    for metric in sweep.metrics:
        name, _, wanted = metric.partition("/")
        if wanted not in evaluators[name].metrics():
            known = ", ".join(sorted(evaluators[name].metrics()))
            raise UserError(f"metrics: no metric {wanted!r} in {name}; expected one of {known}")
    for config in configs:  # stores first: two runs must not make the same one at once
        for modality, tower in config.towers.items():
            if isinstance(tower, StoreTower.Spec):
                build_store(tower, config, modality)
    bar = tqdm(total=len(planned), desc="runs", unit="run")

    def train(run: Planned) -> None:
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        log = run.folder.with_name(run.folder.name + ".log")
        command = [sys.executable, str(TRAIN), str(sweep.config), *_overrides(run, threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with log.open("w") as file:
            code = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
            ).returncode
        if code:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise UserError(f"{run.folder}: training failed with exit code {code}: {last[0]} (all of it: {log})")
        bar.update()

    with bar, ThreadPoolExecutor(jobs) as pool:
        list(pool.map(train, planned))
    return gather(sweep)


def _overrides(run: Planned, threads: int) -> list[str]:
    return [*run.overrides, f"output={run.folder}", f"train.threads={threads}", "train.resume=true"]


def _config(sweep: Sweep, run: Planned, threads: int) -> RunConfig:
    try:
        return load_config(sweep.config, _overrides(run, threads))
    except UserError as error:
        raise UserError("\n".join(f"{run.setting}, {run.repeat}: {line}" for line in str(error).splitlines())) from None


def gather(sweep: Sweep) -> Report:
    """The table of a finished sweep: means over the items of all repeats, and differences from the baseline."""
    predictions: dict[tuple[str, str], pd.DataFrame] = {}
    notes: list[str] = []
    rows: list[dict[str, object]] = []
    planned = plan(sweep)
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
                frame["cluster"] = run.repeat
            key = (run.setting, metric)
            predictions[key] = pd.concat([predictions[key], frame]) if key in predictions else frame
            chance = next((record.chance for record in report.records if record.name == metric), None)
            row = {"setting": run.setting, sweep.over: run.repeat, "metric": metric, "value": frame["correct"].mean()}
            rows.append(row | {"chance": chance, "n": len(frame)})
    table = pd.DataFrame(rows)
    result = Report(
        title=f"Sweep {sweep.output}",
        records=_means(sweep, table, predictions),
        notes=notes,
        provenance={"sweep": sweep.model_dump(mode="json")},
    )
    wide = table.pivot_table(index=["metric", "setting"], columns=sweep.over, values="value", sort=False)
    result.tables[f"every {sweep.over}"] = wide.reset_index()
    return result


def _means(sweep: Sweep, table: pd.DataFrame, predictions: dict[tuple[str, str], pd.DataFrame]) -> list[Record]:
    records = []
    for (setting, metric), frame in predictions.items():
        runs = table[(table["setting"] == setting) & (table["metric"] == metric)].set_index(sweep.over)
        values, chances = runs["value"], runs["chance"].astype(float)
        chance = None if chances.isna().any() else float(np.average(chances, weights=runs["n"]))
        correct = frame["correct"].to_numpy()
        low, high = bootstrap_interval(correct, frame["cluster"].to_numpy())
        context = {
            "repeats": len(values),
            "worst": f"{values.idxmin()} ({values.min():.3f})",
            "best": f"{values.idxmax()} ({values.max():.3f})",
            "intervals_resample": sweep.over if sweep.resample else "the test's clusters",
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
