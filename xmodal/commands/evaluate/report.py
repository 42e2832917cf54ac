"""Evaluators over one model: their reports as one, written; the mean over a suite."""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from xmodal.commands.evaluate.model import Specs, require_writable
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.evaluator import Evaluator, build_evaluator
from xmodal.evaluation.runs.run_report import cut_notes, run_notes, run_report, tested
from xmodal.provenance import made_here
from xmodal.report.report import Record, Report, read_report

# what a suite's mean is over
HEADLINES = (
    "acc1", "mean_average_precision", "accuracy_mean", "accuracy_prompt", "text_to_image_recall@1",
    "image_to_text_recall@1",
)  # fmt: skip


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
        report.notes += [*run_notes(encoder.folder or home, report.provenance, tested(evaluators)), *cut_notes(encoder)]
        if len(specs) > 1:
            report.records += suite_mean(report.records, list(specs))
    report.write(out)
    return report, out


def evaluate_and_print(encoder: Encoder, specs: Specs, home: Path, out: Path, resume: bool = False) -> None:
    """The same, and print the report and where it is."""
    report, out = evaluate_model(encoder, specs, home, out, resume)
    print(report.to_text())
    print(f"report: {out / 'report.html'}")


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
