"""`kernel: {kind: auto}`: which kernel a run trains with, found out before it begins.

Input: a config, whose run folder and stores are there. Output: the config with the kernel in place of `auto`, and the
record of the choice (`xmodal/runs/kernel_choice.py`). What was done before a kill is not done again.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from pydantic import ValidationError

from xmodal.config.kinds import KERNELS
from xmodal.config.load import config_differences
from xmodal.config.schema import RunConfig
from xmodal.config.spec import KindSpec
from xmodal.config.terms.auto import auto_term
from xmodal.config.terms.terms import ONLY, key_of
from xmodal.data.hard.kept_lists import copy_lists
from xmodal.errors import UserError
from xmodal.evaluation.evaluator import Evaluator, metric_problem
from xmodal.files import write_json
from xmodal.objectives.auto_kernel import Auto, folder_of_kernel, name_of_kernel
from xmodal.objectives.kernels import ONE_HOT, Kernel
from xmodal.report.report import Report
from xmodal.runs.folder import FREE, has_weights, open_run, write_config
from xmodal.runs.kernel_choice import ASKED, CHOICE, FOLDER, read_asked, read_choice
from xmodal.training.kernel_choice.outcomes import outcomes_of, side_by_side
from xmodal.training.kernel_choice.rule import compared, winner
from xmodal.training.kernel_choice.target_statistics import (
    TargetStatistics,
    drawn_batches,
    target_statistics_of,
    why_left_out,
)

BASELINE = name_of_kernel(ONE_HOT)
ONLY_LATER = ("train.steps", "train.best")  # keys of the run itself, which its short runs do not have

Train = Callable[[RunConfig], Report | None]
Say = Callable[[str], None]


def with_choice(config: RunConfig, processes: int) -> RunConfig:
    """The config with the kernel that was chosen for it before; as it is where there is none.

    Raises:
        UserError: several processes, and nothing chosen yet.
    """
    term = auto_term(config)
    if term is None:
        return config
    choice = read_choice(config.output)
    if choice is not None and _answers(config, term):
        return with_kernel(config, term, _kernel(choice["kernel"]))
    if processes > 1 and not has_weights(config.output):
        raise UserError(
            f"{key_of(config, term)}.kernel: auto is chosen by one process, and this is one of {processes}; choose "
            "first, with xmodal choose-kernel CONFIG, then start this again"
        )
    return config


def choose_kernel(config: RunConfig, evaluators: Mapping[str, Evaluator], train: Train, say: Say) -> RunConfig:
    """The config with the kernel chosen, after a short run of each candidate that is worth one, and written down.

    Args:
        config: whose folder and stores are there; one that leaves no kernel to be chosen is returned as it is.
        evaluators: of the run.
        train: trains a config and returns its report.
        say: prints a line.

    Raises:
        UserError: the short run with one-hot targets fails; `dev` names no metric of its evaluator, or one that has no
            outcome by item.
    """
    term = auto_term(config)
    if term is None:
        return config
    spec: Auto = config.term_specs()[term].kernel
    key = f"{key_of(config, term)}.kernel"
    dev = spec.dev.partition("/")[0]
    _check_metric(f"{key}.dev", spec.dev, evaluators[dev])
    _begin(config, evaluators[dev].content(), say)
    statistics, left_out = _worth_a_run(config, term, spec, key, say)
    kernels = {BASELINE: ONE_HOT} | {name_of_kernel(k): k for k in spec.candidates if name_of_kernel(k) not in left_out}
    outcomes, failed = dict[str, pd.DataFrame](), dict[str, str]()
    if len(kernels) > 1:
        say(f"{key}: {spec.steps} steps with each of {'; '.join(kernels)}, judged by {spec.dev}")
    for name, kernel in kernels.items() if len(kernels) > 1 else ():
        short = short_run(config, term, spec, kernel)
        try:
            open_run(short)
            copy_lists(config.output, short.output)
            report = train(short)
            copy_lists(short.output, config.output)  # for the next, and for the run itself
            assert report is not None  # one process
            outcomes[name] = outcomes_of(report, spec.dev)
        except UserError as error:
            if name == BASELINE:
                raise
            failed[name] = str(error)
            say(f"  {name}: left out, its run failed: {error}")
    together, clusters, protocols = side_by_side(outcomes)
    found = compared(together, clusters, BASELINE) if together else {}
    for name, each in found.items():
        say(f"  {name}: {each.value:.3f}, {each.difference:+.3f} [{each.low:+.3f}, {each.high:+.3f}] over {BASELINE}")
    name, reason = winner(found, BASELINE)
    say(f"{key}: {name}: {reason}")
    write_json(
        config.output / FOLDER / CHOICE,
        {
            "key": key,
            "term": term,
            "name": name,
            "kernel": kernels[name].model_dump(mode="json"),
            "reason": reason,
            "dev": spec.dev,
            "protocols": protocols,
            "items": len(clusters),
            "steps": spec.steps,
            "seed": config.seed,
            "targets": {each: number.as_dict() for each, number in statistics.items()},
            "left_out": left_out | failed,
            "compared": {each: numbers._asdict() for each, numbers in found.items()},
        },
    )
    chosen = with_kernel(config, term, kernels[name])
    write_config(chosen)
    return chosen


def with_kernel(config: RunConfig, term: str, kernel: Kernel) -> RunConfig:
    """The config with another kernel in a term."""
    if isinstance(config.objective, KindSpec):
        return config.model_copy(update={"objective": config.objective.model_copy(update={"kernel": kernel})})
    changed = config.objective[term].model_copy(update={"kernel": kernel})
    return config.model_copy(update={"objective": {**config.objective, term: changed}})


def short_run(config: RunConfig, term: str, spec: Auto, kernel: Kernel) -> RunConfig:
    """The config of a candidate's run: the same seed, data and settings for `spec.steps`, judged by dev alone."""
    dev = spec.dev.partition("/")[0]
    train = {"steps": spec.steps, "best": None, "eval_every": 0, "resume": True, "trackers": ("jsonl",)}
    return with_kernel(config, term, kernel).model_copy(
        update={
            "output": config.output / FOLDER / folder_of_kernel(kernel),
            "train": config.train.model_copy(update=train),
            "evaluators": {dev: config.evaluators[dev]},
        }
    )


def _worth_a_run(
    config: RunConfig, term: str, spec: Auto, key: str, say: Say
) -> tuple[dict[str, TargetStatistics], dict[str, str]]:
    """Statistics of each candidate's targets, and why some are left out, by name."""
    groups: Sequence[tuple[str, ...]] = config.groups(config.term_specs()[term])
    batches = [batch for group in groups for batch in drawn_batches(config, group)]
    say(f"{key}: targets over {len(batches)} batches of {len(batches[0].guide)} pairs drawn at random")
    statistics, left_out = dict[str, TargetStatistics](), dict[str, str]()
    for kernel in spec.candidates:
        name = name_of_kernel(kernel)
        statistics[name] = target_statistics_of(kernel, batches)
        why = why_left_out(statistics[name], spec.least_spread, spec.most_uniform)
        say(f"  {name}: {statistics[name]}" + (f": left out, {why}" if why else ""))
        if why:
            left_out[name] = why
    return statistics, left_out


def _check_metric(key: str, dev: str, evaluator: Evaluator) -> None:
    """A metric that xmodal's own evaluator lacks is told before anything trains; others may have more than they say."""
    name, _, metric = dev.partition("/")
    if metric and ":" not in evaluator.spec.kind and (problem := metric_problem(key, name, evaluator, metric)):
        raise UserError(problem)


def _begin(config: RunConfig, dev: str, say: Say) -> None:
    """Note what the choice is made for; short runs that were made for something else are removed."""
    folder, asked = config.output / FOLDER, read_asked(config.output)
    if folder.exists() and (asked is None or asked.get("dev") != dev or not _same_question(config, asked)):
        say(f"{folder}: short runs of another config or dev split are removed")
        shutil.rmtree(folder)
    (folder / CHOICE).unlink(missing_ok=True)
    write_json(folder / ASKED, {"config": config.model_dump(mode="json"), "dev": dev})


def _answers(config: RunConfig, term: str) -> bool:
    """Is the choice in the run's folder the one that this config asks for?

    Of a run that has begun the kernel stays, whatever else is changed on resuming.
    """
    asked = read_asked(config.output)
    if asked is None:
        return False
    if not has_weights(config.output):
        return _same_question(config, asked)
    then = asked.get("config", {}).get("objective", {})
    then = then if term == ONLY else then.get(term, {})
    return bool(then.get("kernel") == config.term_specs()[term].kernel.model_dump(mode="json"))


def _same_question(config: RunConfig, asked: dict[str, Any]) -> bool:
    """Would the short runs be the same?"""
    try:
        then = RunConfig.model_validate(asked.get("config"))
    except ValidationError:
        return False
    term = auto_term(config)
    assert term is not None
    judge = f"evaluators.{config.term_specs()[term].kernel.dev.partition('/')[0]}."
    changed = [line.partition(":")[0] for line in config_differences(then, config)]
    return all(key in ONLY_LATER or (FREE.fullmatch(key) and not key.startswith(judge)) for key in changed)


def _kernel(given: dict[str, Any]) -> Kernel:
    kernel: Kernel = KERNELS.spec(given["kind"]).model_validate(given)  # type: ignore[assignment]
    return kernel
