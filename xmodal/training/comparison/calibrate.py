"""From a budget in seconds to a number of steps: each objective's step is timed, then its steps are fixed.

A run that stopped by the clock would end at another step every time, and its learning rate and schedules, which follow
the share of the steps done, could not be exact. So short runs are timed first, `jobs` at a time as the real ones will
be; what they say is written down and holds for all seeds, also after a kill. A candidate that came later is timed then.
"""

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xmodal.config.load import load_config
from xmodal.config.yaml_text import overridden
from xmodal.errors import UserError
from xmodal.files import read_json, write_json
from xmodal.runs.metrics_file import read_metrics
from xmodal.training.comparison.plan import FIXED, Candidate, Plan
from xmodal.training.sweeps.plan import Planned
from xmodal.training.sweeps.sweep import train_all

FIRST = 20  # steps of the first, rough timing
SHARE = 0.1  # of the budget, for the second: long enough that features kept in memory are part of it
STEPS = "steps.json"


def steps_of(plan: Plan, jobs: int, threads: int) -> dict[str, int]:
    """Candidate's stem -> steps that take the budget; those of the config where there is no budget in seconds.

    What cannot be timed (its loss diverged, say) has the fewest steps of the others: its run will say what is wrong.

    Raises:
        UserError: a timing failed, or the budget is shorter than one step.
    """
    seconds = plan.budget.seconds
    if seconds is None:
        return {each.stem: plan.budget.steps or plan.config.train.steps for each in plan.candidates}
    path = plan.output / STEPS
    known: dict[str, int] = read_json(path) if path.is_file() else {}
    new = [each for each in plan.candidates if each.stem not in known]  # left out before, say: labels were added since
    if not new:
        return known
    rough = _time(plan, dict.fromkeys(new, FIRST), jobs, threads)
    longer = {each: int(SHARE * seconds / rough[each]) for each in rough}
    longer = {each: count for each, count in longer.items() if count >= 2 * FIRST}
    each_step = rough | _time(plan, longer, jobs, threads)
    slow = {each.objective: value for each, value in each_step.items() if value > seconds}
    if slow or not (each_step or known):
        name, value = next(iter(slow.items()), ("any", 0.0))
        raise UserError(f"--budget: {plan.request.budget} is less than one step of {name} ({value:.2f} s); give more")
    steps = known | {each.stem: int(seconds / value) for each, value in each_step.items()}
    steps |= {each.stem: min(steps.values()) for each in new if each.stem not in steps}
    write_json(path, steps)
    shutil.rmtree(plan.output / "timing", ignore_errors=True)
    return steps


def _time(plan: Plan, steps: Mapping[Candidate, int], jobs: int, threads: int) -> dict[Candidate, float]:
    """Seconds of a step, of runs of so many steps."""
    runs = {each: _timed_run(plan, each, count) for each, count in steps.items()}
    failed = train_all(plan.request.config, list(runs.values()), jobs, threads, "timing", go_on=True)
    if runs and len(failed) == len(runs):
        raise UserError("; ".join(f"{each.objective}: {failed[run.folder]}" for each, run in runs.items()))
    return {each: seconds_of_a_step(run.folder) for each, run in runs.items() if run.folder not in failed}


def _timed_run(plan: Plan, candidate: Candidate, steps: int) -> Planned:
    config = load_config(plan.request.config, overridden(candidate.overrides, FIXED))
    resting = [name for name, tower in config.towers.items() if getattr(tower, "unfreeze_after", 0)]
    own = [
        *FIXED,
        *(f"towers.{name}.unfreeze_after=0" for name in resting),
        f"train.steps={steps}",
        f"train.log_every={max(1, steps // 10)}",
        "train.eval_every=0",
        "train.save_every=0",
        "evaluators={}",
    ]
    folder = plan.output / "timing" / f"{candidate.stem}-{steps}"
    return Planned(candidate.objective, ("timing",), folder, overridden(candidate.overrides, own))


def seconds_of_a_step(run: Path) -> float:
    """Seconds of training of a step: the median of the windows between a run's log lines, without its first fifth.

    A median, since what else the machine does only ever makes a window longer.
    """
    logged = [(row["step"], row["train/seconds"]) for row in read_metrics(run) if "train/loss" in row]
    warm = [line for line in logged if line[0] >= logged[-1][0] / 5]
    windows = [(after - before) / (last - first) for (first, before), (last, after) in itertools.pairwise(warm)]
    return float(np.median(windows))
