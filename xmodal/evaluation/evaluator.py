"""What every evaluator is: a spec in, and a report for any encoder; in training and from the command line.

An evaluator is a class with a `Spec` nested in it (derived from `EvaluatorSpec`) and the members of `Evaluator`; it
need not derive from anything. A config finds it by its name in `EVALUATORS`, or as `kind: my_package.my_module:MyTest`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.config.kinds import EVALUATORS
from xmodal.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from xmodal.config.schema import RunConfig
    from xmodal.encoding.encoder import Encoder
    from xmodal.report.report import Report


@runtime_checkable
class Evaluator(Protocol):
    """Made as `MyTest(spec, kinds)`, where `kinds` says what a model's modalities are: name -> text, audio or image.

    It reads its files then, so what is wrong with them is known before training starts.
    """

    @property
    def spec(self) -> EvaluatorSpec:
        """The evaluator's part of a config, with its `test`."""
        ...

    @property
    def modality(self) -> str:
        """Of the items under test."""
        ...

    @property
    def files(self) -> Sequence[Path]:
        """The items under test that are files."""
        ...

    def content(self) -> str:
        """A digest of what is under test: items (by path, size and time of change), labels, texts, templates."""
        ...

    def metrics(self) -> set[str]:
        """The names that `train.best` may choose from, after the evaluator's own; larger is better in all of them.

        Only such as every report will hold, with a value.
        """
        ...

    def check(self) -> None:
        """What can be known of the items without a model; `UserError` where too many cannot be used."""
        ...

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves tables and pictures out."""
        ...


_MEMBERS = ("spec", "modality", "files", "content", "metrics", "check", "evaluate")


def build_evaluators(config: RunConfig) -> dict[str, Evaluator]:
    """The evaluators of a run; what is wrong with their files, or with `train.best`, is known before training starts.

    Raises:
        UserError: files that cannot be used, a metric that is not there.
    """
    kinds = {name: config.modality(name).kind for name in config.towers}
    evaluators = {name: build_evaluator(spec, kinds) for name, spec in config.evaluators.items()}
    for each in evaluators.values():
        each.check()
    evaluator, _, metric = (config.train.best or "").partition("/")
    if evaluator in evaluators and (problem := metric_problem("train.best", evaluator, evaluators[evaluator], metric)):
        raise UserError(problem)
    return evaluators


def metric_problem(key: str, name: str, evaluator: Evaluator, metric: str) -> str:
    """What is wrong with a metric that `key` asks of the evaluator called `name`; "" where it gives it."""
    known = sorted(evaluator.metrics())
    return "" if metric in known else f"{key}: no metric {metric!r} in {name}; expected one of {', '.join(known)}"


def build_evaluator(spec: EvaluatorSpec, kinds: Mapping[str, str]) -> Evaluator:
    """The evaluator of a spec; `kinds` says what the model's modalities are (text, audio, image), by name.

    Raises:
        UserError: files that cannot be used; a class that is no evaluator.
    """
    made = EVALUATORS.build(spec, kinds)
    missing = [name for name in _MEMBERS if not hasattr(made, name)]
    if missing:
        raise UserError(f"{spec.kind}: no evaluator: it has no {', '.join(missing)}; see Evaluator in {__name__}")
    evaluator: Evaluator = made
    return evaluator
