"""What an objective needs and the config does not give, given by default: views, momentum targets, predictors.

Input: a config and an objective. Output: overrides that meet its needs, and a sentence for each; or why it cannot be.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationError

from xmodal.config.data import STANDARD_MODALITIES, TextModality
from xmodal.config.error_lines import error_lines
from xmodal.config.kinds import OBJECTIVES
from xmodal.config.registry import OneOrNamed
from xmodal.config.schema import RunConfig
from xmodal.config.spec import KindSpec, Spec
from xmodal.config.terms.needs import needs_of
from xmodal.config.yaml_text import as_override
from xmodal.data.manifest import read_manifest
from xmodal.errors import UserError
from xmodal.objectives.objective import Objective
from xmodal.training.comparison.settings import Tree

MOMENTUM = 0.996
# where a modality has no augmentation: views must differ
AUGMENT = {"audio": {"noise": 0.1}, "image": {"flip": 0.5}, "text": {"word_dropout": 0.1}}


class _Holder(Spec):
    """What an objective is validated in, by itself."""

    objective: Annotated[Any, OneOrNamed(OBJECTIVES)]


@dataclass
class Provided:
    """How a run is changed for an objective: overrides, what was given by default, and what keeps it from being run.

    `needs`: does it need anything? Then a config that is refused lacks it: a store, say, for which there is no default.
    """

    overrides: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    needs: bool = False


def provide(config: RunConfig, name: str, objective: Tree) -> Provided:
    """Meet an objective's needs over the sides it is for; what the config gives, and it needs, stays as it is.

    Targets, predictors, teachers and clusters that only the config's own objective asks for are taken out: they would
    only cost time.

    Args:
        config: the run that is compared on, with an objective of its own.
        name: what the objective is called, for errors.
        objective: as a config has it.

    Raises:
        UserError: the objective's settings are wrong.
    """
    found = Provided()
    wanted: dict[tuple[str, str], int] = {}
    terms = _terms(name, objective)
    outer = [each for each in terms.values() if _has_outer_problem(each)]
    found.overrides.append(f"train.step={'bilevel' if outer else 'plain'}")
    if outer and config.train.step != "bilevel":
        found.said.append("train.step: bilevel")
    for key, term in terms.items():
        if getattr(getattr(term, "kernel", None), "kind", "") == "auto":
            found.missing.append(
                f"kernel auto chooses by trial runs of its own; name kernels to compare, as {term.kind}:perplexity"
            )
        least, most = term.takes
        for group in config.groups(term):
            if not least <= len(group) <= most:
                told = f"{least}" if least == most else f"{least} to {most}"
                found.missing.append(
                    f"{term.kind} is for {told} sides, and {' and '.join(group)} are {len(group)}; beside another "
                    f"objective it is compared as {{align: {{kind: infonce}}, {key}: {{kind: {term.kind}, "
                    f"on: [{group[0]}]}}}}"
                )
                continue
            for need in needs_of(term, group):
                wanted[need.what, need.side] = max(wanted.get((need.what, need.side), 1), need.amount)
    found.needs = bool(wanted)
    labels = any(what == "labels" for what, _ in wanted)
    if config.data.clusters is None and labels and not _has_labels(config):
        found.missing.append(f"it needs labels, and {config.data.train} has no column label with any")
    if config.data.clusters is not None and not labels:
        found.overrides.append("data.clusters=null")
    if config.teachers:
        every = config.model_dump(mode="json")["teachers"]
        found.overrides.append(
            as_override("teachers", {side: each for side, each in every.items() if ("teacher", side) in wanted})
        )
    _targets(config, wanted, found)
    for (what, side), amount in wanted.items():
        if what == "views":
            _views(config, side, amount, found)
    return found


def _terms(name: str, objective: Tree) -> dict[str, Any]:
    raw = {"objective": objective}
    try:
        read = _Holder.model_validate(raw).objective
    except ValidationError as error:
        raise UserError("\n".join(error_lines(error, raw, lambda _: name, _Holder))) from None
    return {"self": read} if isinstance(read, KindSpec) else dict(read)


def _has_outer_problem(term: Any) -> bool:
    """Does it train parameters through a virtual step, as MetAug does?"""
    return OBJECTIVES.find(term.kind).outer_parameters is not Objective.outer_parameters


def _targets(config: RunConfig, wanted: dict[tuple[str, str], int], found: Provided) -> None:
    """A momentum target where one is asked for of a side that trains, a predictor where one is."""
    targets: Tree = {}
    for side, tower in config.towers.items():
        copied, predicted = ("target", side) in wanted and tower.trains, ("predicted", side) in wanted
        if not copied and not predicted:
            continue
        own: Tree = config.targets[side].model_dump(mode="json") if side in config.targets else {}
        given, said = dict(own), list[str]()
        for key, asked, default, told in (
            ("momentum", copied and own.get("every") is None, MOMENTUM, f"momentum {MOMENTUM}"),
            ("predictor", predicted, {"kind": "mlp"}, "predictor mlp"),
        ):
            said += [told] if asked and own.get(key) is None else []
            given[key] = (default if own.get(key) is None else own[key]) if asked else None
        given["every"] = own.get("every") if copied else None
        targets[side] = given
        found.said += [f"targets.{side}: {', '.join(said)}"] if said else []
    found.overrides.append(as_override("targets", targets))


def _views(config: RunConfig, side: str, amount: int, found: Provided) -> None:
    if side not in config.data.modalities and side not in STANDARD_MODALITIES:
        return
    modality = config.modality(side)
    if modality.training_views >= amount:
        return
    values = modality.model_dump(mode="json") | {"training_views": amount}
    said = f"data.modalities.{side}: training_views {amount}"
    if isinstance(modality, TextModality) and config.towers[side].is_stored:
        said += ", which differ only where a row has several texts"
    elif not modality.augment.is_active and not getattr(getattr(modality, "waveform", None), "is_active", False):
        augment = AUGMENT[modality.kind]
        values["augment"] = values["augment"] | augment
        said += ", augment " + ", ".join(f"{key} {value:g}" for key, value in augment.items())
    found.overrides.append(as_override(f"data.modalities.{side}", values))
    found.said.append(said)


def _has_labels(config: RunConfig) -> bool:
    """Of a stream nobody knows before it is read; there the run itself says it."""
    return config.data.streaming or _any_label(config.data.train, config.data.made_by)


@lru_cache(maxsize=4)
def _any_label(path: Path, made_by: str | None) -> bool:
    return any(label is not None for label in read_manifest(path, made_by=made_by, ids=False).labels or ())
