"""The runs of a comparison: every objective under each of its settings, over the same seeds; and what is left out.

Input: a `Request`. Output: a `Plan`. Nothing is trained here; every config is checked.
"""

import filecmp
import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xmodal.config.load import load_config
from xmodal.config.schema import RunConfig
from xmodal.config.yaml_text import as_override, overridden
from xmodal.errors import UserError
from xmodal.evaluation.evaluator import Evaluator, build_evaluators
from xmodal.training.comparison.needs import provide
from xmodal.training.comparison.request import Asked, Budget, Request, settings_of
from xmodal.training.comparison.settings import Tree, has_key, is_of_run
from xmodal.training.sweeps.plan import Planned

LONGEST = 80  # letters of a folder's name
POINTS = 8  # times that dev is judged in a run, the end among them
USUAL = ("acc1", "accuracy_mean", "accuracy_prompt", "accuracy_all_mean", "accuracy_all_prompt", "accuracy",
         "precision@1")  # fmt: skip
# metrics of xmodal's own evaluators that are means over items, so that two runs can be compared item by item
_OVER_ITEMS = re.compile(r"acc1|accuracy.*|oracle.*|precision@1|.*_recall@\d+")


@dataclass(frozen=True)
class Candidate:
    """One objective under one setting."""

    objective: str
    setting: str  # "" where it has only one
    stem: str  # its runs' folders are OUTPUT/runs/STEM-SEED
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What will be trained and reported."""

    request: Request
    config: RunConfig  # with the objective it names itself
    output: Path
    candidates: tuple[Candidate, ...]
    dev: tuple[str, ...]
    tests: tuple[str, ...]
    metric: Mapping[str, str]  # evaluator -> the metric
    contents: Mapping[str, str]  # a digest of the training data, and of every evaluator's test
    said: Mapping[str, Sequence[str]] = field(default_factory=dict)  # objective -> what was given it by default
    left_out: Mapping[str, str] = field(default_factory=dict)  # objective -> why

    @property
    def objectives(self) -> list[str]:
        """Those that are compared, in the order asked for."""
        return list(dict.fromkeys(each.objective for each in self.candidates))

    @property
    def seeds(self) -> list[int]:
        """The config's seed and those after it."""
        return [self.config.seed + number for number in range(self.request.seeds)]

    @property
    def budget(self) -> Budget:
        """How long a run trains."""
        return Budget.read(self.request.budget)

    def run_of(self, candidate: Candidate, seed: int, steps: int) -> Planned:
        """One run: judged on dev as it trains, its last weights kept."""
        every = max(1, steps // POINTS)
        judged = every if self.dev else 0
        spec = self.config.train
        own = [
            f"seed={seed}",
            f"train.steps={steps}",
            f"train.eval_every={judged}",
            f"train.save_every={every}",
            f"train.log_every={min(spec.log_every, every)}",
            self.evaluators(self.dev),
            *FIXED,
        ]
        overrides = overridden(candidate.overrides, own)
        folder = self.output / "runs" / f"{candidate.stem}-{seed}"
        return Planned(" ".join([candidate.objective, candidate.setting]).strip(), (str(seed),), folder, overrides)

    def evaluators(self, names: Sequence[str]) -> str:
        """The override that leaves a run these evaluators."""
        every = self.config.model_dump(mode="json")["evaluators"]
        return as_override("evaluators", {name: every[name] for name in names})


FIXED = ("train.best=null", "train.trackers=[jsonl]")


def make_plan(request: Request) -> Plan:
    """Check a request and lay out its runs.

    Raises:
        UserError: a config or a setting that is wrong, dev evaluators or a metric that are not there, several settings
            and no dev to choose by, fewer than two objectives that can be run.
    """
    own = [each for each in request.overrides if each.startswith("objective.")]
    if own:
        raise UserError(
            f"--set: {own[0]}: each objective is its own; write it into one, as '{{kind: infonce, temperature: 0.1}}', "
            "or give it to all that have it, as --grid temperature=0.1"
        )
    config = load_config(request.config, request.overrides)
    default = config.output.with_name(config.output.name + "_objectives")
    output = request.output or default
    dev, tests = _split(request, config)
    evaluators = build_evaluators(config.model_copy(update={"train": _without_best(config)}))
    metric = _metrics(request, evaluators)
    contents = {f"evaluators.{name}": each.content() for name, each in evaluators.items()}
    if Path(config.data.train).is_file():
        with Path(config.data.train).open("rb") as file:
            contents["data.train"] = hashlib.file_digest(file, "sha256").hexdigest()
    candidates, said, left_out = list[Candidate](), dict[str, Sequence[str]](), dict[str, str]()
    for name, asked in request.objectives.items():
        found, given, missing = _candidates(request, config, name, asked)
        if missing:
            left_out[name] = missing
        else:
            candidates += found
            said |= {name: given} if given else {}
    several = [each.objective for each in candidates if each.setting]
    if several and not dev:
        raise UserError(
            f"--dev: {several[0]} has several settings, and no dev split to choose one by; name an evaluator of the "
            f"config ({', '.join(config.evaluators)}) with --dev, or give one value each"
        )
    if len(left_out) > len(request.objectives) - 2:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise UserError(f"--objectives: fewer than two can be compared ({reasons})")
    stems: dict[str, Candidate] = {}
    for each in candidates:
        other = stems.setdefault(each.stem, each)
        if other is not each:
            raise UserError(
                f"--objectives: {other.objective} {other.setting} and {each.objective} {each.setting} would share the "
                f"folder {each.stem}; give one another name, under objectives in a file"
            )
    return Plan(request, config, output, tuple(candidates), dev, tests, metric, contents, said, left_out)


def untuned(request: Request) -> dict[str, list[str]]:
    """Objective -> the settings that dev chooses for others, and that it does not have."""
    chosen = {
        key: None for asked in request.objectives.values() for key, values in asked.settings.items() if values[1:]
    }
    lacking = {
        name: [key for key in chosen if key not in asked.settings and not has_key(asked.objective, key)]
        for name, asked in request.objectives.items()
    }
    return {name: keys for name, keys in lacking.items() if keys}


def _candidates(request: Request, config: RunConfig, name: str, asked: Asked) -> tuple[list[Candidate], list[str], str]:
    """An objective under each of its settings, what it was given by default, and why it cannot be run."""
    found, said, several = list[Candidate](), list[str](), len(settings_of(asked)) > 1
    for setting in settings_of(asked):
        objective = json.loads(json.dumps(asked.objective))
        for key, value in setting.items():
            if not is_of_run(key):
                _put(objective, key.split("."), value)
        provided = provide(config, name, objective)
        if provided.missing:
            return [], [], provided.missing[0]
        of_run = [as_override(key, value) for key, value in setting.items() if is_of_run(key)]
        own = [as_override("objective", objective), *provided.overrides, *of_run]
        overrides = overridden(request.overrides, own)
        try:
            load_config(request.config, overridden(overrides, FIXED))
        except UserError as error:
            lines = str(error).split("\n")
            if not provided.needs:
                raise UserError("\n".join(f"{name}: {line}" for line in lines)) from None
            tried = f" (given: {'; '.join(provided.said)})" if provided.said else ""
            return [], [], lines[0].removeprefix("command line: ") + tried
        label = " ".join(f"{key}={value}" for key, value in setting.items()) if several else ""
        stem = _short(re.sub(r"[^\w.-]+", "_", f"{name} {label}".strip().lower()))
        found.append(Candidate(name, label, stem, overrides))
        said += [line for line in provided.said if line not in said]
    return found, said, ""


def _short(stem: str) -> str:
    """A folder's name that every file system takes, and that stays another one for another objective."""
    if len(stem) <= LONGEST:
        return stem
    return f"{stem[: LONGEST - 9]}-{hashlib.sha256(stem.encode()).hexdigest()[:8]}"


def _put(tree: Tree, keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value


def _split(request: Request, config: RunConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The evaluators that are dev, and those that are tests."""
    unknown = [name for name in request.dev if name not in config.evaluators]
    if unknown:
        raise UserError(
            f"--dev: {unknown[0]!r} is not one of the evaluators ({', '.join(config.evaluators) or 'none'})"
        )
    tests = tuple(name for name in config.evaluators if name not in request.dev)
    if not tests:
        raise UserError(f"{request.config}: evaluators: none is left as a test; add one that is not named with --dev")
    for name, test in itertools.product(request.dev, tests):
        if _alike(Path(config.evaluators[name].test), Path(config.evaluators[test].test)):
            raise UserError(
                f"--dev: {name} and the test {test} are the same file, or copies; settings must not see the test"
            )
    return request.dev, tests


def _alike(dev: Path, test: Path) -> bool:
    """Are two tests one file, or two of the same bytes?"""
    if os.path.realpath(dev) == os.path.realpath(test):
        return True
    return dev.is_file() and test.is_file() and filecmp.cmp(dev, test, shallow=False)


def _metrics(request: Request, evaluators: Mapping[str, Evaluator]) -> dict[str, str]:
    """The metric of every evaluator: that asked for, else the first of the usual ones it has."""
    found = {}
    for name, evaluator in evaluators.items():
        own = evaluator.spec.kind.partition(":")[2] == ""
        known = sorted(m for m in evaluator.metrics() if not own or _OVER_ITEMS.fullmatch(m))
        usual = [metric for metric in USUAL if metric in known] or [m for m in known if m.endswith("recall@1")] or known
        found[name] = request.metric or (usual[0] if usual else "")
        if found[name] not in known:
            raise UserError(
                f"--metric: {request.metric or 'none'} is no metric of {name} that is a mean over items; expected one "
                f"of {', '.join(known) or 'none'}"
            )
    return found


def _without_best(config: RunConfig) -> Any:
    return config.train.model_copy(update={"best": None})
