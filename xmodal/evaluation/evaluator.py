"""What every evaluator is: a spec in, and a report for any encoder; in training and from `eval/`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from xmodal.config.evaluators import EvaluatorSpec, RetrievalEvaluator, SpeechIntentEvaluator, ZeroShotEvaluator
from xmodal.config.schema import RunConfig
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.retrieval.retrieval import Retrieval
from xmodal.report.report import Report


class Evaluator(Protocol):
    """An evaluator reads its files when it is made: what is wrong with them is known before training starts."""

    spec: Any  # the evaluator's part of a config, with its `test`

    @property
    def modality(self) -> str:
        """Of the items under test."""

    @property
    def files(self) -> Sequence[Path]:
        """The items under test that are files."""

    def content(self) -> str:
        """A digest of what is under test: items (by path, size and time of change), labels, texts, templates."""

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from, after the evaluator's own."""

    def check(self) -> None:
        """What can be known of the items without a model; `UserError` where too many cannot be used."""

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves tables and pictures out."""


EVALUATORS: dict[type[Any], type[Any]] = {
    SpeechIntentEvaluator: SpeechIntent,
    ZeroShotEvaluator: ZeroShot,
    RetrievalEvaluator: Retrieval,
}


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
    if evaluator in evaluators and metric not in evaluators[evaluator].metrics():
        known = ", ".join(sorted(evaluators[evaluator].metrics()))
        raise UserError(f"train.best: no metric {metric!r} in {evaluator}; expected one of {known}")
    return evaluators


def build_evaluator(spec: EvaluatorSpec, kinds: Mapping[str, str]) -> Evaluator:
    """The evaluator of a spec; `kinds` says what the model's modalities are (text, audio, image), by name."""
    evaluator: Evaluator = EVALUATORS[type(spec)](spec, kinds)
    return evaluator
