"""A run: what a config file may say, its ranges and its defaults.

One YAML file is one run (`RunConfig`). Specs are frozen, and an unknown key is an error. What belongs to one kind of
objective, tower or evaluator stands in that kind's own class (see `kinds.py`).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from xmodal.config.augment.agreement import cluster_problems, view_problems
from xmodal.config.data import STANDARD_MODALITIES, AudioModality, DataSpec, ModalitySpec
from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.config.kinds import EVALUATORS, HEADS, OBJECTIVES
from xmodal.config.registry import OneOrNamed
from xmodal.config.schedule import Number, Scheduled
from xmodal.config.spec import Beta, Count, KindSpec, Positive, Share, Spec
from xmodal.config.terms.auto import auto_problems
from xmodal.config.terms.needs import need_problems
from xmodal.config.terms.terms import ONLY, RESERVED, default_pairs, term_problems
from xmodal.config.tower import AnyTower, TowerSpec
from xmodal.config.train_spec import TrainSpec, sampler_problems


class Rule(Spec):
    """Parameters whose name matches `match` (a regex, `re.search`) get these settings; the first match wins."""

    match: str
    lr_scale: float = Field(1.0, ge=0)  # 0 freezes
    weight_decay: float | None = Field(None, ge=0)

    @field_validator("match")
    @classmethod
    def _is_regex(cls, match: str) -> str:
        try:
            re.compile(match)
        except re.error as error:
            raise ValueError(f"{match!r} is not a regular expression: {error}") from None
        return match


class OptimSpec(Spec):
    """AdamW, linear warm-up, cosine decay. Weight decay falls on matrices only, unless a rule says otherwise."""

    lr: float = Field(1e-3, gt=0, le=1e30)
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    eps: Positive = 1e-8
    weight_decay: float = Field(0.05, ge=0)
    warmup: Share = 0.06  # share of the steps
    final: Share = 0.02  # share of lr left at the end
    clip: float = Field(1.0, ge=0)  # largest gradient norm; 0 is off
    layer_decay: float = Field(1.0, gt=0, le=1)  # a backbone's rate, once more for each block nearer the input
    rules: tuple[Rule, ...] = ()


class TargetSpec(Spec):
    """What stands beside a side's tower: a slow copy of it, which gives targets, and a predictor.

    The copy is a momentum target, `xi <- m xi + (1 - m) theta` after every step, or a past checkpoint, copied from the
    tower every so many steps. With `momentum: null` there is none: a predictor by itself (SimSiam).
    """

    momentum: Annotated[Number, Scheduled(ge=0, le=1)] | None = 0.996  # m, or its schedule; 0 copies the tower
    every: Count | None = None  # steps; in place of momentum
    predictor: Annotated[KindSpec, HEADS] | None = None  # a head from D to D, on the tower's output

    @model_validator(mode="before")
    @classmethod
    def _in_place_of_momentum(cls, values: Any) -> Any:
        return {"momentum": None, **values} if isinstance(values, dict) and values.get("every") is not None else values

    @model_validator(mode="after")
    def _one_copy(self) -> Self:
        if self.every is not None and self.momentum is not None:
            raise ValueError("every: a past checkpoint takes the place of a momentum target; set momentum: null")
        if not self.copies and self.predictor is None:
            raise ValueError("momentum: null is for a predictor by itself, and none is given; set momentum: 0.996")
        return self

    @property
    def copies(self) -> bool:
        """Is there a copy of the tower?"""
        return self.momentum is not None or self.every is not None


class RunConfig(Spec):
    """One run."""

    format: Literal[2] = 2  # of the run folder
    output: Path
    seed: int = Field(0, ge=0, lt=2**31)
    data: DataSpec
    towers: dict[str, AnyTower] = Field(min_length=1)
    pairs: tuple[tuple[str, str], ...] = ()  # (trainable, guide) modalities; default: the one trainable, the one locked
    objective: Annotated[Any, OneOrNamed(OBJECTIVES)] = Field({"kind": "cwcl"}, validate_default=True)
    targets: dict[str, TargetSpec] = Field(default_factory=dict)  # side -> its slow copy, its predictor
    teachers: dict[str, AnyTower] = Field(default_factory=dict)  # side -> store of a frozen teacher's embeddings
    optim: OptimSpec = OptimSpec()
    train: TrainSpec = TrainSpec()
    evaluators: dict[str, Annotated[EvaluatorSpec, EVALUATORS]] = Field(default_factory=dict)

    @field_validator("towers", mode="after")
    @classmethod
    def _named(cls, towers: dict[str, AnyTower]) -> dict[str, AnyTower]:
        for name in towers:
            if not re.fullmatch(r"[A-Za-z]\w*", name) or name in RESERVED:
                raise ValueError(f"{name!r}: expected the name of a modality, such as speech: letters, digits and _")
        return towers

    @field_validator("towers", mode="after")
    @classmethod
    def _something_trains(cls, towers: dict[str, AnyTower]) -> dict[str, AnyTower]:
        if not any(tower.trains for tower in towers.values()):
            raise ValueError("nothing to train: every tower is locked and has no head")
        return towers

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        problems = []
        for name in self.towers:
            if name not in self.data.modalities and name not in STANDARD_MODALITIES:
                problems.append(
                    f"towers.{name}: not a standard modality ({', '.join(STANDARD_MODALITIES)}): "
                    f"say what it is in data.modalities.{name}"
                )
        twice = [pair for at, pair in enumerate(self.pairs) if pair in self.pairs[:at]]
        problems += [f"pairs: {list(pair)} is named twice; name it once" for pair in twice]
        for pair in self.pairs:
            unknown = [name for name in pair if name not in self.towers]
            problems += [f"pairs: {name!r} is not one of the towers ({', '.join(self.towers)})" for name in unknown]
            if pair[0] == pair[1]:
                problems.append(f"pairs: {pair[0]!r} is paired with itself")
            elif not unknown and not self.towers[pair[0]].trains:
                problems.append(
                    f"pairs: {list(pair)} names the trainable side first, but nothing of the {pair[0]} tower trains"
                )
        problems += term_problems(self) or need_problems(self)
        problems += view_problems(self) + cluster_problems(self)
        problems += self._evaluator_problems() + self._batch_problems()
        problems += sampler_problems(self) + auto_problems(self)
        for name, tower in self.towers.items():
            rests = getattr(tower, "unfreeze_after", 0)
            if rests >= self.train.steps:
                problems.append(
                    f"towers.{name}.unfreeze_after: {rests} steps, and train.steps is {self.train.steps}: its backbone "
                    "would never train; lower it, or set mode: locked"
                )
        evaluator, _, metric = (self.train.best or "").partition("/")
        if self.train.best is not None and (evaluator not in self.evaluators or not metric):
            problems.append(
                f"train.best: {self.train.best!r}: expected EVALUATOR/METRIC with one of the evaluators "
                f"({', '.join(self.evaluators) or 'none'}), as {next(iter(self.evaluators), 'heldout')}/accuracy_mean"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _batch_problems(self) -> list[str]:
        """Batches by seconds where no seconds are known before the items are read."""
        if self.train.batch_seconds is None:
            return []
        way_out = "set train.batch_size instead"
        if self.data.streaming:
            return [f"train.batch_seconds: items of a stream have no known length before they are read; {way_out}"]
        known = [name for name in self.towers if name in self.data.modalities or name in STANDARD_MODALITIES]
        heard = [name for name in known if isinstance(self.modality(name), AudioModality)]
        if not heard:
            return [f"train.batch_seconds: none of the towers ({', '.join(self.towers)}) takes audio; {way_out}"]
        if all(self.towers[name].is_stored for name in heard):
            return [f"train.batch_seconds: towers.{heard[0]} is read from a store, so no audio is looked at; {way_out}"]
        return []

    def _evaluator_problems(self) -> list[str]:
        """Evaluators of modalities that no tower encodes: known now, and not when training has ended."""
        problems = []
        for name, evaluator in self.evaluators.items():
            if not isinstance(evaluator, EvaluatorSpec):  # a kind of something else, named as module:Class
                problems.append(f"evaluators.{name}.kind: {evaluator.kind!r} is no evaluator")
                continue
            for role, modality in evaluator.sides().items():
                if modality not in self.towers:
                    problems.append(
                        f"evaluators.{name}.{role}: {modality!r} is not one of the towers ({', '.join(self.towers)})"
                    )
        return problems

    def modality(self, name: str) -> ModalitySpec:
        """The modality's spec, with the standard one where the config says nothing."""
        return self.data.modalities.get(name) or STANDARD_MODALITIES[name]()

    def all_towers(self) -> Iterator[tuple[str, str, TowerSpec]]:
        """(dotted key, side, spec) of every tower, and of every teacher."""
        for key, specs in (("towers", self.towers), ("teachers", self.teachers)):
            yield from ((f"{key}.{side}", side, spec) for side, spec in specs.items())

    def tower_pairs(self) -> tuple[tuple[str, str], ...]:
        """(trainable, guide) sides. For two towers: the locked one guides; both unlocked: the second guides."""
        return default_pairs(self.towers, self.pairs)

    def term_specs(self) -> dict[str, Any]:
        """The terms of the loss by name; a run's one objective is called `objective`."""
        return {ONLY: self.objective} if isinstance(self.objective, KindSpec) else dict(self.objective)

    def groups(self, term: Any) -> tuple[tuple[str, ...], ...]:
        """The sides of each call of a term: those it names, else every pair."""
        return (term.on,) if term.on is not None else self.tower_pairs()
