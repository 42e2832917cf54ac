"""A run's report: its evaluators' results, its training curves, and where the numbers come from."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xmodal.data.manifest import read_manifest, root_of, strings
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.evaluator import Evaluator
from xmodal.evaluation.runs.saved_run import SavedRun
from xmodal.provenance import made_here
from xmodal.report.figures import curves
from xmodal.report.report import Record, Report
from xmodal.runs.kernel_choice import choice_notes
from xmodal.runs.metrics_file import read_metrics

DRAWN = re.compile(r"/(acc|mean_average_precision|.*recall@1$)")  # what is drawn against the step


def run_report(
    run: Path,
    encoder: Encoder,
    evaluators: Mapping[str, Evaluator],
    provenance: Mapping[str, Any],
    log: Callable[[Sequence[Record]], object] = lambda _: None,
    brief: bool = False,
) -> Report:
    """Evaluate, with pictures unless `brief`. The caller writes the report where it wants it.

    `log` gets the numbers before the curves of the run's metrics.jsonl are drawn.
    """
    report = Report(title=f"xmodal run {run}", records=[], provenance={}, notes=[])
    for name, evaluator in evaluators.items():
        report = report.merge(evaluator.evaluate(encoder, name, brief))
    log(report.records)
    own = SavedRun.of(run).evaluators if (run / "config.yaml").is_file() else {}
    others = [name for name in evaluators if name not in own]
    report.title = f"xmodal run {run}" + (f": {', '.join(others)}" if others else "")
    report.provenance = {
        **encoder.provenance,
        **provenance,
        **made_here(),
    }
    report.notes += [*run_notes(run, report.provenance, tested(evaluators)), *cut_notes(encoder)]
    if not others:  # another test's numbers are not on the run's curves
        report.figures = training_curves(run) | report.figures
    return report


class Tested(NamedTuple):
    """A test that a run is judged by."""

    path: Path
    modality: str  # of the items
    files: Sequence[Path]  # the items that are files


def tested(evaluators: Mapping[str, Evaluator]) -> dict[str, Tested]:
    """The tests of some evaluators."""
    return {name: Tested(each.spec.test, each.modality, each.files) for name, each in evaluators.items()}


def run_notes(run: Path, facts: Mapping[str, Any], tests: Mapping[str, Tested]) -> list[str]:
    """Notes on a run for whoever reads its results: which weights were judged, and which test items it trained on.

    Empty where `run` is no run folder.
    """
    if not (run / "config.yaml").is_file():
        return []
    saved = SavedRun.of(run)
    kernel = choice_notes(run, saved.evaluators, {name: test.path for name, test in tests.items()})
    return [*kernel, *_choices(saved, facts, tests), *_shortened(facts), *_overlaps(saved, tests)]


def cut_notes(encoder: Encoder) -> list[str]:
    """A note for each side of which a tower did not see some items whole, as texts longer than it reads."""
    notes = []
    for side, count in encoder.cut.items():
        reason = encoder.cut_items(side)[0]["examples"][0][1]
        notes.append(
            f"{side}: {count:,} items are longer than the {side} tower reads; their ends count for nothing (the first: "
            f"{reason})."
        )
    return notes


def _shortened(facts: Mapping[str, Any]) -> list[str]:
    """What training left out and cut short, of what it saw."""
    data = facts.get("data") or {}
    left_out, cut = (sum(each["count"] for each in data.get(name) or ()) for name in ("left_out", "cut"))
    if not left_out and not cut:
        return []
    reasons = [each["reason"] for name in ("left_out", "cut") for each in data[name]][:3]
    return [
        f"training data: {data['seen']:,} items seen, {data['used']:,} used, {left_out:,} left out, {cut:,} cut short "
        f"({'; '.join(reasons)}{'; ...' if len(data['left_out']) + len(data['cut']) > 3 else ''})."
    ]


def _choices(saved: SavedRun, facts: Mapping[str, Any], tests: Mapping[str, Tested]) -> list[str]:
    """Which weights were evaluated, where that changes what the numbers mean."""
    step, steps = facts.get("weights_from_step"), saved.steps
    if not facts.get("finished"):
        return [f"training is not finished: these are the weights of step {step} of {steps}."]
    if saved.best is None:
        return []
    judge = os.path.realpath((saved.evaluators.get(saved.best.partition("/")[0]) or {}).get("test", ""))
    chosen = f"step {step} of {steps}, the best by {saved.best}"
    return [
        f"{name}: the weights were chosen on this test ({chosen}), which flatters its numbers."
        for name, test in tests.items()
        if os.path.realpath(test.path) == judge
    ]


def _overlaps(saved: SavedRun, tests: Mapping[str, Tested]) -> list[str]:
    """Which tests hold files that were trained on; nothing where the training data are not there any more."""
    notes = []
    for name, test in tests.items():
        modality = test.modality
        if modality not in saved.sides or saved.kind(modality) == "text" or not test.files:
            continue
        if saved.is_streamed or str(saved.train_data).startswith("hub:") or saved.train_data.is_dir():
            notes.append(
                f"{name}: whether its items are also training items was not looked for: that reads all the data."
            )
            continue
        column = saved.column(modality)
        try:
            manifest = read_manifest(saved.train_data, [column])
            labels = manifest.labels or [None] * len(manifest)
            paths = zip(strings(manifest, column).to_pylist(), labels, strict=True)
            rows = [path for path, label in paths if label not in saved.left_out]
        except UserError:  # not there any more, or bytes in place of paths
            continue
        trained = {os.path.realpath(root_of(saved.train_data) / row) for row in rows}
        seen = sum(os.path.realpath(path) in trained for path in test.files)
        what = "recordings" if saved.kind(modality) == "audio" else "images"
        if seen:
            notes.append(f"{name}: {seen} of {len(test.files)} test {what} are also training {what}.")
    return notes


def training_curves(run: Path) -> dict[str, bytes]:
    """Pictures of loss and accuracy against the step, from the run's metrics.jsonl."""
    rows = read_metrics(run)
    figures = {}
    loss = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    if loss:
        figures["training loss"] = curves({"loss": loss}, "training loss", "loss")
    names = sorted({key for row in rows for key in row if key.startswith("eval/") and DRAWN.search(key)})
    accuracy = {name.removeprefix("eval/"): [(r["step"], r[name]) for r in rows if name in r] for name in names}
    if any(len(points) > 1 for points in accuracy.values()):
        figures["accuracy during training"] = curves(accuracy, "accuracy during training", "accuracy")
    return figures
