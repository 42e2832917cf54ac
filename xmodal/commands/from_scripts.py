"""What the scripts in `eval/` share: a model by name, a test or a suite of tests, one report.

Enters: what was typed. Leaves: an encoder and where its results go; a report, written.
"""

import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.config.kinds import EVALUATORS
from xmodal.config.load import load_config
from xmodal.config.yaml_text import read_yaml
from xmodal.encoding.encoder import Encoder
from xmodal.encoding.kept import KeptEmbeddings
from xmodal.encoding.loading import DUAL_ENCODERS, load
from xmodal.errors import UserError
from xmodal.evaluation.classification.speech_intent import SpeechIntent
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.evaluator import Evaluator, build_evaluator
from xmodal.evaluation.runs.run_report import run_notes, run_report, tested
from xmodal.provenance import made_here
from xmodal.report.report import Record, Report, read_report

Specs = Mapping[str, EvaluatorSpec]

# what a suite's mean is over
HEADLINES = (
    "acc1", "mean_average_precision", "accuracy_mean", "accuracy_prompt", "text_to_image_recall@1",
    "image_to_text_recall@1",
)  # fmt: skip


def load_for_evaluation(model: str, dtype: Any = "fp32", embeddings: Path | None = None) -> tuple[Encoder, Path, Specs]:
    """The encoder of a run folder or a dual encoder's name, the folder its results go to, the evaluators it names.

    Raises:
        UserError: neither a run nor such a model.
    """
    encoder = load(model, dtype=dtype)
    if model.startswith(DUAL_ENCODERS):
        home = Path("reports") / re.sub(r"[^\w.-]+", "_", model)
        specs: Specs = {}
    else:
        home = Path(model)
        specs = load_config(home / "config.yaml").evaluators
    encoder.kept = KeptEmbeddings(embeddings or home / "embeddings")
    return encoder, home, specs


def name_of(dataset: Path) -> str:
    """What a data set is called in reports: data/cifar10/test.parquet is cifar10-test.

    Example:
        name_of(Path("data/cifar10/test.parquet"))  # "cifar10-test"
    """
    if str(dataset).startswith("hub:"):
        return re.sub(r"[^\w.-]+", "_", str(dataset).removeprefix("hub:"))
    place = dataset.resolve()
    return f"{place.parent.name}-{place.stem}" if place.parent.name else place.stem


def spec_of(specs: Specs, dataset: Path) -> ZeroShot.Spec | SpeechIntent.Spec | None:
    """The evaluator among `specs` that has prompts for this data set; else the first one that has any."""
    prompted = [spec for spec in specs.values() if isinstance(spec, ZeroShot.Spec | SpeechIntent.Spec)]
    here = [spec for spec in prompted if os.path.realpath(spec.test) == os.path.realpath(dataset)]
    return next(iter([*here, *prompted]), None)


def zero_shot_spec(dataset: Path, items: str, trained: bool, given: Mapping[str, Any]) -> ZeroShot.Spec:
    """The evaluator that a command line asks for; `given` may hold None for what was not said.

    Raises:
        UserError: a value out of its range.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if "classes" in said:
        named = said["classes"]
        said["classes"] = named[0] if len(named) == 1 else tuple(named)
    try:
        return ZeroShot.Spec(test=dataset, items=items, trained=trained, **said)
    except ValidationError as error:
        raise UserError(
            "; ".join(f"--{str(e['loc'][0]).replace('_', '-')}: {e['msg']}" for e in error.errors())
        ) from None


def read_suite(path: Path) -> Specs:
    """A YAML file of evaluators by name; paths in it are relative to the folder the command is started in.

    Raises:
        UserError: missing, not YAML, or no such evaluators; one line each.
    """
    try:
        found = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or not found:
        raise UserError(f"{path}: expected evaluators by name, as under `evaluators` in a config")
    astray = [name for name in found if not re.fullmatch(r"[^/\\\0]*[^/\\\0.\s][^/\\\0]*", str(name))]
    if astray:
        raise UserError(f"{path}: {astray[0]!r}: the name of a test is that of a folder: expected one without slashes")
    try:
        return TypeAdapter(dict[str, Annotated[EvaluatorSpec, EVALUATORS]]).validate_python(found)
    except ValidationError as error:
        raise UserError("\n".join(_suite_line(path, found, details) for details in error.errors())) from None


def _suite_line(path: Path, suite: Any, details: Any) -> str:
    """What is wrong with a suite, by key as it is written; of an unknown key the nearest known one."""
    name, *keys = map(str, details["loc"])
    key = ".".join([name, *keys])
    if details["type"] != "extra_forbidden":
        return f"{path}: {key}: {details['msg']}"
    spec = EVALUATORS.spec(suite[name]["kind"])
    near = get_close_matches(keys[-1], spec.model_fields, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(spec.model_fields)}"
    return f"{path}: {key}: unknown key; {hint}"


def evaluate_model(encoder: Encoder, specs: Specs, home: Path, out: Path, resume: bool = False) -> tuple[Report, Path]:
    """Evaluate and write the report; returns it and where it is.

    With `resume` every test's report stays in OUT/tests/NAME; a test that this model has finished is read from there.

    Raises:
        UserError: nothing to evaluate, or what an evaluator raises.
    """
    if not specs:
        raise UserError(f"{home}: names no evaluators; give --dataset or --suite")
    require_writable(out)
    evaluators = _built(specs, encoder.kinds)
    if not resume and (home / "config.yaml").is_file():
        report = run_report(home, encoder, evaluators, {})
    else:
        report = Report(title=encoder.name)
        weights = {modality: encoder.fingerprint(modality) for modality in encoder.towers}
        for name, evaluator in evaluators.items():
            report = report.merge(_one(encoder, weights, name, evaluator, out / "tests" / name if resume else None))
        report.title = encoder.name
        report.provenance = encoder.provenance | made_here()
        report.notes += run_notes(home, report.provenance, tested(evaluators))
        if len(specs) > 1:
            report.records += suite_mean(report.records, list(specs))
    report.write(out)
    return report, out


def _built(specs: Specs, kinds: Mapping[str, str]) -> dict[str, Evaluator]:
    """All evaluators, or one error with a line for each that cannot be: known before the first one runs."""
    evaluators, mistakes = dict[str, Evaluator](), []
    for name, spec in specs.items():
        try:
            evaluators[name] = build_evaluator(spec, kinds)
        except UserError as error:
            mistakes.append(str(error) if len(specs) == 1 else f"{name}: {error}")
    if mistakes:
        raise UserError("\n".join(mistakes))
    return evaluators


def _one(encoder: Encoder, weights: Mapping[str, str], name: str, evaluator: Evaluator, folder: Path | None) -> Report:
    asked = evaluator.spec.model_dump(mode="json")
    wanted = {
        "evaluator": asked,
        "model": encoder.provenance,
        "dtype": str(encoder.dtype),
        "weights": dict(weights),
        "content": evaluator.content(),
    }
    if folder is not None and (folder / "report.json").is_file():
        try:
            done = read_report(folder)
        except UserError:  # damaged: it is in a folder of the suite's own, and is made again
            shutil.rmtree(folder)
        else:
            if {key: done.provenance.get(key) for key in wanted} == wanted:
                return done
    report = evaluator.evaluate(encoder, name)
    report.provenance = wanted | made_here()
    if folder is not None:
        report.write(folder)
    return report


def require_writable(folder: Path) -> None:
    """Raise `UserError` where a report cannot go: known before minutes are spent on it."""
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise UserError(f"{nearest}: is a file, and the report goes into a folder; choose another place with --out")
    if not os.access(nearest, os.W_OK):
        raise UserError(f"{nearest}: cannot be written to; choose another place with --out")


def suite_mean(records: Sequence[Record], names: Sequence[str]) -> list[Record]:
    """The mean over the tests of each headline metric that all of them have; their intervals as independent ones."""
    means = []
    for metric in HEADLINES:
        found = [r for r in records if r.metric == metric and r.dataset in names and r.value is not None]
        if len(found) != len(names):
            continue
        values = [r.value for r in found if r.value is not None]
        mean = math.fsum(values) / len(values)
        spans = [(r.high - r.low) / 2 for r in found if r.low is not None and r.high is not None]
        half = math.sqrt(math.fsum(s * s for s in spans)) / len(found) if len(spans) == len(found) else None
        low, high = (None, None) if half is None else (mean - half, mean + half)
        chances = [r.chance for r in found if r.chance is not None]
        chance = math.fsum(chances) / len(chances) if len(chances) == len(found) else None
        n = sum(r.n for r in found)
        means.append(Record("mean over the suite", metric, mean, low, high, n, chance, {"tests": list(names)}))
    return means
