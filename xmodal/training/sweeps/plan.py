"""What a sweep file says, and the runs it plans: a config under several settings, each over seeds, folds or speakers.

config: ../fsdd_cwcl.yaml           # relative to the sweep file
output: runs/fsdd_sweep
axes:
  objective:
    CL: [objective.kind=infonce]
    CWCL affine: [objective.kind=cwcl]
  seed:
    "0": [seed=0]
    "1": [seed=1]
over: seed                          # the axis that is averaged, or several: [speaker, seed]
baseline: CL                        # paired differences from this setting
metrics: [heldout/accuracy_mean]
"""

import itertools
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError

from xmodal.config.error_lines import error_lines
from xmodal.config.load import load_config
from xmodal.config.spec import Spec
from xmodal.config.yaml_text import read_mapping
from xmodal.errors import UserError

SET_BY_SWEEP = ("output", "train.resume")  # of every run: a folder below that of the sweep, and that it goes on


def _listed(axes: object) -> object:
    """A single axis may stand without brackets."""
    return axes if isinstance(axes, list | tuple) else (axes,)


class Sweep(Spec):
    """A sweep file."""

    config: Path
    output: Path
    axes: dict[str, dict[str, tuple[str, ...]]]
    over: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_listed)]
    metrics: tuple[str, ...]
    baseline: str | None = None
    resample: bool = False  # intervals resample the first axis of `over` (speakers, folds), not the test's clusters


@dataclass(frozen=True)
class Planned:
    """One run of a sweep: its setting (all axes but those of `over`), its repeat, and how to train it."""

    setting: str
    repeats: tuple[str, ...]  # its labels on the axes of `over`
    folder: Path
    overrides: tuple[str, ...]

    @property
    def repeat(self) -> str:
        """Its name among the runs of its setting."""
        return ", ".join(self.repeats)


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file; its `config` is relative to the file.

    Raises:
        UserError: missing, not YAML, an unknown key, or an axis, metric or baseline that is not there: every mistake
            on a line of its own.
    """
    raw = read_mapping(path, "the keys of a sweep")
    try:
        sweep = Sweep.model_validate(raw)
    except ValidationError as error:
        raise UserError("\n".join(error_lines(error, raw, lambda _: str(path), Sweep))) from None
    sweep = sweep.model_copy(update={"config": (path.parent / sweep.config).resolve()})
    problems = _problems(sweep)
    if problems:
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    return sweep


def _problems(sweep: Sweep) -> list[str]:
    """What a sweep asks for that is not there."""
    problems = [f"axes: {name} has no settings" for name, values in sweep.axes.items() if not values]
    for key, listed in (("over", sweep.over), ("metrics", sweep.metrics)):
        twice = [name for name, count in Counter(listed).items() if count > 1]
        problems += [f"{key}: {name!r} stands there twice; name it once" for name in twice]
    for axis, values in sweep.axes.items():
        for label, overrides in values.items():
            taken = [override for override in overrides if override.partition("=")[0].strip() in SET_BY_SWEEP]
            problems += [f"axes.{axis}.{label}: {one!r}: a sweep sets it itself; take it out" for one in taken]
    missing = [name for name in sweep.over if name not in sweep.axes]
    problems += [f"over: {name!r} is not one of the axes ({', '.join(sweep.axes)})" for name in missing]
    planned = [] if problems else plan(sweep)
    folders: dict[Path, Planned] = {}
    for run in planned:
        other = folders.setdefault(run.folder, run)
        if other is not run:
            names = [f"{r.setting} {r.repeat}" for r in (other, run)]
            problems.append(f"axes: {names[0]!r} and {names[1]!r} would share {run.folder}; rename one")
    settings = list(dict.fromkeys(run.setting for run in planned))
    if planned and sweep.baseline is not None and sweep.baseline not in settings:
        problems.append(f"baseline: {sweep.baseline!r} is not one of the settings ({', '.join(settings)})")
    try:
        evaluators = load_config(sweep.config).evaluators
    except UserError as error:
        return [*problems, *(f"config: {line}" for line in str(error).split("\n"))]
    return problems + [
        f"metrics: {metric!r}: expected EVALUATOR/METRIC, with one of the config's evaluators ({', '.join(evaluators)})"
        for metric in sweep.metrics
        if metric.partition("/")[0] not in evaluators or not metric.partition("/")[2]
    ]


def plan(sweep: Sweep) -> list[Planned]:
    """Every combination of the axes, repeats of one setting together."""
    names = [name for name in sweep.axes if name not in sweep.over]
    runs = []
    for values in itertools.product(*(sweep.axes[name].items() for name in names)):
        setting = ", ".join(label for label, _ in values) or sweep.config.stem
        for repeated in itertools.product(*(sweep.axes[name].items() for name in sweep.over)):
            repeats = tuple(label for label, _ in repeated)
            folder = sweep.output / re.sub(r"[^\w.-]+", "_", f"{setting}-{', '.join(repeats)}".lower())
            overrides = tuple(override for _, chosen in (*values, *repeated) for override in chosen)
            runs.append(Planned(setting, repeats, folder, overrides))
    return runs
