"""Many runs, one table: every run that a sweep file plans is trained where it is not yet, and their reports gathered.

Input: a `Sweep` (`sweep_plan.py`). Output: a run folder for every combination, and a report (`sweep_report.py`) whose
records are means over the items of all repeats, with intervals, the worst repeat, and paired differences.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from xmodal.config.load import config_differences, load_config
from xmodal.config.schema import RunConfig
from xmodal.config.yaml_text import as_override
from xmodal.encoding.stores.build import build_store
from xmodal.errors import UserError
from xmodal.evaluation.evaluator import build_evaluators, metric_problem
from xmodal.progress import progress_bar
from xmodal.report.report import Report
from xmodal.runs.folder import FREE, has_weights
from xmodal.runs.lock import require_idle
from xmodal.runs.same_weights import link_same_weights
from xmodal.threads import usable_cores
from xmodal.towers.kinds.store import StoreTower
from xmodal.training.kernel_choice.choosing import with_choice
from xmodal.training.sweeps.plan import Planned, Sweep, plan
from xmodal.training.sweeps.sweep_report import gather

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
FULL = 2**24  # bytes; a disk with less is why a run failed
MISTAKE = 2  # the exit code of a `UserError`: what can be foreseen, a loss that diverged among it


def run_sweep(sweep: Sweep, jobs: int = 1) -> Report:
    """Train what is not trained yet, `jobs` at a time, and gather the table.

    Raises:
        UserError: a wrong override (found before anything trains), or a run that failed, with its log.
    """
    planned = plan(sweep)
    threads = max(1, usable_cores() // jobs)
    configs = _configs(sweep, planned, threads)
    _check_metrics(sweep, configs[0])
    build_stores(configs)
    missing = [run for run in planned if not _is_judged(run.folder)]
    train_all(sweep.config, missing, jobs, threads)
    return gather(sweep)


def build_stores(configs: Iterable[RunConfig]) -> None:
    """The stores of all runs, before any of them trains, with all cores: two must not make the same one at once."""
    for config in configs:
        config = config.model_copy(update={"train": config.train.model_copy(update={"threads": "auto"})})
        for key, modality, tower in config.all_towers():
            if isinstance(tower, StoreTower.Spec):
                build_store(tower, config, modality, key=key)


def train_all(
    config: Path, planned: Sequence[Planned], jobs: int, threads: int, what: str = "runs", go_on: bool = False
) -> dict[Path, str]:
    """Each run in a process of its own, which xmodal/train.py starts; its output goes into a log beside the run.

    Towers that did not train are the same in all of them; they share one file on the disk.

    Args:
        config: the file they share.
        planned: the runs.
        jobs: at a time.
        threads: of each.
        what: what the progress bar calls them.
        go_on: a run that cannot be trained (its loss diverged, say) ends itself alone; the others are trained.

    Returns:
        With `go_on` the folders of the runs that could not be trained, with the reason.

    Raises:
        UserError: a run that failed, with its log.
    """
    failed: dict[Path, str] = {}
    bar = progress_bar(total=len(planned), desc=what, unit="run")
    linking, done = Lock(), list[Path]()

    def train(run: Planned) -> None:
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        require_idle(run.folder)
        log = run.folder.with_name(run.folder.name + ".log")
        command = [sys.executable, str(TRAIN), str(config), *overrides_of(run, threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with log.open("a") as file:
            code = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
            ).returncode
        if code:
            last = log.read_text(errors="replace").strip().split("\n")[-1] or "no output"
            free = shutil.disk_usage(run.folder.parent).free
            if code == MISTAKE and free < FULL:
                left = f"its disk has {free // 2**20} MB left, free some"
                raise UserError(f"{run.folder}: training failed: {last}; {left}")
            if not go_on or code != MISTAKE:
                raise UserError(f"{run.folder}: training failed with exit code {code}: {last} (all of it: {log})")
            failed[run.folder] = f"{last.removeprefix('error: ')} (all of it: {log})"
        with linking:
            link_same_weights(run.folder, done)
            done.append(run.folder)
        bar.update()

    with bar, ThreadPoolExecutor(jobs) as pool:
        list(pool.map(train, planned))
    return failed


def overrides_of(run: Planned, threads: int) -> list[str]:
    """All that is set for a run on the command line that trains it."""
    return [f"train.threads={threads}", *run.overrides, as_override("output", str(run.folder)), "train.resume=true"]


def _configs(sweep: Sweep, planned: list[Planned], threads: int) -> list[RunConfig]:
    """The config of every run, or one error with every mistake of all of them."""
    configs, mistakes = list[RunConfig](), list[str]()
    for run in planned:
        try:
            config = load_config(sweep.config, overrides_of(run, threads))
            configs.append(config)
            mistakes += [f"{run.setting}, {run.repeat}: {line}" for line in _other_run(config)]
            measured = dict.fromkeys(metric.partition("/")[0] for metric in sweep.metrics)
            mistakes += [
                f"{run.setting}, {run.repeat}: evaluators.{name}: it is taken away, and metrics name it; keep it"
                for name in measured
                if name not in config.evaluators
            ]
        except UserError as error:
            mistakes += [f"{run.setting}, {run.repeat}: {line}" for line in str(error).split("\n")]
    if mistakes:
        raise UserError("\n".join(mistakes))
    return configs


def _is_judged(folder: Path) -> bool:
    """Has a run been trained to its end and tested?"""
    return (folder / "training.json").is_file() and (folder / "report" / "report.json").is_file()


def _other_run(config: RunConfig) -> list[str]:
    """What differs from a run that is in its folder already, of an earlier state of the sweep file.

    Its tests may change until it has been judged by them.
    """
    if not has_weights(config.output):
        return []
    judged = _is_judged(config.output)
    before = load_config(config.output / "config.yaml", saved=True)
    way_out = "give the setting another label or the sweep another output, or remove the run"
    return [
        f"{config.output}: was trained with another {line}; {way_out}"
        for line in config_differences(before, with_choice(config, processes=1))
        if not FREE.fullmatch(line.partition(":")[0]) or (judged and line.startswith("evaluators."))
    ]


def _check_metrics(sweep: Sweep, config: RunConfig) -> None:
    evaluators = build_evaluators(config)
    asked = [metric.partition("/")[::2] for metric in sweep.metrics]
    mistakes = [problem for name, m in asked if (problem := metric_problem("metrics", name, evaluators[name], m))]
    if mistakes:
        raise UserError("\n".join(mistakes))
