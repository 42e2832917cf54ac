"""What a comparison of objectives is asked for: which, over how many seeds, for how long, chosen on which dev split.

config: ../my.yaml                  # a run; relative to this file
output: runs/which
objectives:
  infonce: infonce
  sharp: {objective: {kind: cwcl, kernel: {kind: perplexity}}, settings: {kernel.perplexity: [4, 8, 16]}}
seeds: 3
budget: 100s                        # of training, a run; or 500steps; left out: train.steps of the config
dev: [dev]                          # the config's evaluators that may choose; the others are tests
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from xmodal.config.error_lines import error_lines
from xmodal.config.kinds import KERNELS, OBJECTIVES
from xmodal.config.spec import Count, Spec
from xmodal.config.yaml_text import read_mapping, read_yaml, yaml_problem
from xmodal.errors import UserError
from xmodal.training.comparison.settings import SET_BY_COMPARISON, SET_ITSELF, Tree, has_key, no_setting

_BUDGET = re.compile(r"(\d+(?:\.\d+)?) ?(s|m|h|min|steps?)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600}


class Asked(Spec):
    """One objective, and the values of its settings from which dev chooses: dotted key -> values."""

    objective: Tree
    settings: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)


class Request(Spec):
    """A comparison, from a file or from the command line."""

    config: Path
    output: Path | None = None  # default: the config's, with _objectives behind
    objectives: dict[str, Asked]
    seeds: Count = 3
    budget: str | None = None
    dev: tuple[str, ...] = ()
    metric: str | None = None  # of dev and tests; default: the first that the evaluators name of the usual ones
    overrides: tuple[str, ...] = ()  # keys of the config, the same for all, as a.b=value


@dataclass(frozen=True)
class Budget:
    """How long a run trains: so many seconds of training, or so many steps; neither: as the config says."""

    seconds: float | None = None
    steps: int | None = None

    @classmethod
    def read(cls, text: str | None) -> "Budget":
        """`100s`, `2m`, `1h`, `500steps`. Raises `UserError` for anything else."""
        if text is None:
            return cls()
        found = _BUDGET.fullmatch(text.strip())
        if found is None or float(found[1]) <= 0 or (found[2].startswith("step") and not found[1].isdigit()):
            raise UserError(f"--budget: found {text}, expected a time such as 100s, 2m or 1h, or 500steps")
        if found[2].startswith("step"):
            return cls(steps=int(found[1]))
        return cls(seconds=float(found[1]) * _SECONDS[found[2]])


def read_request(path: Path, given: Mapping[str, Any], objectives: Sequence[str], grid: Sequence[str]) -> Request:
    """The request of a file and a command line; the command line wins.

    Args:
        path: a run's config, or a comparison: a file with `config` and `objectives`.
        given: what the command line says of the other keys of `Request`; None: nothing.
        objectives: as typed; of a comparison's file also names of its objectives. None: all of the file.
        grid: `key=value,value`, for every objective that has the key.

    Raises:
        UserError: a line for each mistake.
    """
    raw = read_mapping(path)
    raw = dict(raw) if {"config", "objectives"} & raw.keys() else {"config": path.name}
    raw.setdefault("config", None)
    listed = raw.get("objectives") or {}
    if not isinstance(listed, dict):
        raise UserError(f"{path}: objectives: expected a mapping of names to objectives")
    named = {str(name): _entry(f"{path}: objectives.{name}", value) for name, value in listed.items()}
    chosen: dict[str, Tree] = {}
    for text in objectives or list(named):
        name, entry = (text, named[text]) if text in named else _typed(text)
        if name in chosen:
            raise UserError(f"--objectives: {name} is named twice; name it once")
        chosen[name] = entry
    raw["objectives"] = chosen
    raw |= {name: value for name, value in given.items() if value not in (None, [], ())}
    try:
        request = Request.model_validate(raw)
    except ValidationError as error:
        raise UserError("\n".join(error_lines(error, raw, lambda _: str(path), Request))) from None
    Budget.read(request.budget)
    if len(request.objectives) < 2:
        raise UserError(f"--objectives: found {len(request.objectives)}, expected at least two to compare")
    request = with_grid(request, grid)
    mistakes = [
        f"{path}: objectives.{name}.settings.{key}: {problem}"
        for name, asked in request.objectives.items()
        for key in asked.settings
        if (problem := no_setting(asked.objective, key))
    ]
    if mistakes:
        raise UserError("\n".join(mistakes))
    return request.model_copy(update={"config": (path.parent / request.config).resolve()})


def _entry(where: str, value: Any) -> Tree:
    """An entry of a file: a name, an objective, or {objective: ..., settings: ...}."""
    if isinstance(value, dict) and "objective" in value and "kind" not in value:
        return value | {"objective": _objective(where, value["objective"])}
    return {"objective": _objective(where, value)}


def _objective(where: str, value: Any) -> Tree:
    if isinstance(value, dict):
        return value
    if not isinstance(value, str):
        raise UserError(f"{where}: found {value!r}, expected a name such as cwcl:perplexity, or a mapping")
    return by_name(value, where)


def _typed(text: str) -> tuple[str, Tree]:
    """An objective as it is typed: a name, or a mapping in quotes; and what it is called."""
    if not text.lstrip().startswith("{"):
        return text, {"objective": by_name(text, "--objectives")}
    try:
        found = read_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"--objectives: {text!r} is not YAML: {yaml_problem(error)}") from None
    if not isinstance(found, dict) or not found:
        raise UserError(f"--objectives: {text!r}: expected a mapping such as '{{kind: cwcl, temperature: 0.1}}'")
    for name, term in {} if isinstance(found.get("kind"), str) else found.items():
        if not isinstance(term, dict):
            raise UserError(f"--objectives: {text!r}: {name} is {term!r}, expected a term such as {{kind: cwcl}}")
    return called(found), {"objective": found}


def by_name(text: str, where: str) -> Tree:
    """`cwcl`, `cwcl:perplexity` (kind and kernel), or a class, as `my_package.losses:MyLoss`.

    Raises:
        UserError: no such kind or kernel, or an objective without a kernel.
    """
    kind, colon, kernel = text.partition(":")
    if not colon or kind not in OBJECTIVES.names:
        _known(OBJECTIVES, text, where)
        return {"kind": text}
    _known(KERNELS, kernel, f"{where}: {text}")
    if "kernel" not in OBJECTIVES.spec(kind).model_fields:
        raise UserError(f"{where}: {text}: {kind} has no kernel; name it as {kind}")
    return {"kind": kind, "kernel": {"kind": kernel}}


def _known(registry: Any, kind: str, where: str) -> None:
    try:
        registry.spec(kind)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def called(objective: Tree) -> str:
    """A name for an objective given as a mapping: `cwcl kernel.kind=power`, `align=cwcl self=nt_xent`."""
    flat = flatten(objective)
    kind = flat.pop("kind", None)
    if kind is None:
        return " ".join(f"{key.removesuffix('.kind')}={value}" for key, value in flat.items())
    return " ".join([str(kind), *(f"{key}={value}" for key, value in flat.items())])


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Tree:
    """Nested mappings as dotted keys."""
    flat: Tree = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def with_grid(request: Request, grid: Sequence[str]) -> Request:
    """The request with the values of `key=value,value` for every objective that has such a key.

    Raises:
        UserError: another form, or a key that no objective has.
    """
    updated, seen = dict(request.objectives), dict[str, str]()
    for text in grid:
        key, equals, values = text.partition("=")
        try:
            found = read_yaml(f"[{values}]") if equals else []
        except yaml.YAMLError:
            found = []
        if not found or not all(key.split(".")):
            raise UserError(f"--grid: found {text!r}, expected key=value,value as temperature=0.05,0.1")
        if key in SET_BY_COMPARISON:
            raise UserError(f"--grid: {key}: {SET_ITSELF}")
        if key in seen:
            raise UserError(f"--grid: {key} is given twice; put all its values into one, as {key}={seen[key]},{values}")
        seen[key] = values
        takers = [name for name, asked in updated.items() if has_key(asked.objective, key)]
        if not takers:
            raise UserError(f"--grid: no objective has a key {key}; a key of the run is written whole, as optim.lr")
        for name in takers:
            asked = updated[name]
            updated[name] = asked.model_copy(update={"settings": {**asked.settings, key: tuple(found)}})
    return request.model_copy(update={"objectives": updated})


def settings_of(asked: Asked) -> list[Tree]:
    """Every combination of an objective's values, each as dotted key -> value; one without any: an empty one."""
    return [dict(zip(asked.settings, values, strict=True)) for values in itertools.product(*asked.settings.values())]
