"""Train every objective under every setting and seed, choose on dev, test once, report.

Input: a `Request`. Output: a `Report` and its folder. Called again after a kill it goes on; with another request it is
refused: the folder's test has been seen.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xmodal.config.load import config_differences, load_config
from xmodal.config.schema import RunConfig
from xmodal.config.yaml_text import overridden
from xmodal.errors import UserError
from xmodal.files import read_json, write_json
from xmodal.progress import say
from xmodal.report.report import Report
from xmodal.threads import usable_cores
from xmodal.training.comparison.calibrate import steps_of
from xmodal.training.comparison.comparison_report import comparison_report
from xmodal.training.comparison.outcomes import Outcome, choose, test_once
from xmodal.training.comparison.plan import FIXED, Candidate, Plan, make_plan
from xmodal.training.comparison.request import Request, flatten
from xmodal.training.kernel_choice.choosing import with_choice
from xmodal.training.sweeps.plan import Planned
from xmodal.training.sweeps.sweep import build_stores, overrides_of, train_all

ASKED = "comparison.json"
_PASSING = re.compile(r"(output|train\.(resume|threads)):")  # of a run's config: may differ from call to call


def compare_objectives(request: Request, jobs: int = 1) -> tuple[Report, Path]:
    """Train what is not trained yet, `jobs` at a time; the report is also written, to OUTPUT/report.

    Raises:
        UserError: what `make_plan` raises; a folder with another comparison; a run that was killed, whose code fails or
            of another config than planned; fewer than two objectives that could be trained.
    """
    plan = make_plan(request)
    claim(plan)
    for line in describe(plan):
        say(line)
    threads = max(1, usable_cores() // jobs)
    build_stores(load_config(request.config, overridden(each.overrides, FIXED)) for each in plan.candidates)
    steps = steps_of(plan, jobs, threads)
    runs = {each: [plan.run_of(each, seed, steps[each.stem]) for seed in plan.seeds] for each in plan.candidates}
    # a seed of every objective first: what stops early has compared something
    order = [planned[at] for at in range(len(plan.seeds)) for planned in runs.values()]
    configs = [load_config(request.config, overrides_of(run, threads)) for run in order]
    missing = [run for run, config in zip(order, configs, strict=True) if not is_finished(config)]
    failed = train_all(request.config, missing, jobs, threads, go_on=True)
    plan, trained = _without_failed(plan, runs, failed)
    chosen = choose(plan, trained)
    reports = test_once(plan, {each: trained[each] for each in chosen})
    outcomes = [
        Outcome(each, tuple(trained[each]), dev, tuple(reports[run] for run in trained[each]))
        for each, dev in chosen.items()
    ]
    report = comparison_report(plan, outcomes, trained)
    report.write(plan.output / "report")
    return report, plan.output / "report"


def is_finished(config: RunConfig) -> bool:
    """Has the run of this config been trained to its end and judged?

    Raises:
        UserError: its folder holds a finished run of another config.
    """
    folder = config.output
    if not (folder / "training.json").is_file() or not (folder / "report" / "report.json").is_file():
        return False
    saved = load_config(folder / "config.yaml", saved=True)
    changed = [line for line in config_differences(saved, with_choice(config, 1)) if not _PASSING.match(line)]
    if changed:
        raise UserError(
            f"{folder}: holds a run of another config, {changed[0]}; move it away, or start another comparison with "
            "--output"
        )
    return True


def claim(plan: Plan) -> None:
    """Write down what was asked for; raise `UserError` where the folder holds a comparison of something else."""
    asked = plan.request.model_dump(mode="json", exclude={"config", "output", "overrides"})
    config = plan.config.model_dump(mode="json", exclude={"output": True, "train": {"resume", "threads"}})
    wanted = json.loads(json.dumps({"comparison": asked, "config": config, "contents": dict(plan.contents)}))
    path = plan.output / ASKED
    if not path.is_file():
        there = plan.output.is_dir() and any(each.suffix != ".tmp" for each in plan.output.iterdir())
        if there or (plan.output.exists() and not plan.output.is_dir()):
            raise UserError(f"{plan.output}: exists and is no comparison; choose another folder with --output")
        plan.output.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
        return
    before = read_json(path)
    if not isinstance(before, dict) or not {"comparison", "config"} <= before.keys():
        raise UserError(f"{path}: is no comparison's; choose another folder with --output")
    began = before.pop("contents", wanted["contents"])  # one of earlier versions has none
    moved = [key for key, digest in wanted.pop("contents").items() if began.get(key) != digest]
    old, new = flatten(before), flatten(wanted)
    changed = [key for key in [*old, *new] if old.get(key) != new.get(key)]
    if changed:
        key = changed[0]
        told = key.removeprefix("comparison.")
        raise UserError(
            f"{plan.output}: holds a comparison with {told}: {old.get(key, 'not set')}, now {new.get(key, 'not set')}; "
            "go on as it began, or start another with --output"
        )
    if moved:
        raise UserError(
            f"{moved[0]}: its data have changed since {plan.output} began with them, and runs of both would be "
            "compared; put them back, or start another with --output"
        )


def _without_failed(
    plan: Plan, runs: dict[Candidate, list[Planned]], failed: dict[Path, str]
) -> tuple[Plan, dict[Candidate, list[Path]]]:
    """The runs of the candidates that were trained over all seeds; the others are left out, with the reason."""
    trained, why = dict[Candidate, list[Path]](), dict[str, str]()
    for candidate, planned in runs.items():
        lost = [f"seed {run.repeat}: {failed[run.folder]}" for run in planned if run.folder in failed]
        if lost:
            why[f"{candidate.objective} {candidate.setting}".strip()] = lost[0]
        else:
            trained[candidate] = [run.folder for run in planned]
    if len({each.objective for each in trained}) < 2:
        raise UserError(
            f"{plan.output}: fewer than two objectives could be trained ("
            + "; ".join(f"{name}: {reason}" for name, reason in why.items())
            + ")"
        )
    return replace(plan, candidates=tuple(trained), left_out={**plan.left_out, **why}), trained


def describe(plan: Plan) -> Sequence[str]:
    """What will be trained, in a line or two, for the terminal."""
    runs = len(plan.candidates) * len(plan.seeds)
    told = f"{len(plan.objectives)} objectives, {len(plan.candidates)} settings, {len(plan.seeds)} seeds: {runs} runs"
    return [told, *(f"left out: {name}: {why}" for name, why in plan.left_out.items())]
