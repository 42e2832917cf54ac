"""A run's report: its evaluators' results, its training curves, and where the numbers come from."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xmodal.checkpoint import versions
from xmodal.evaluation.encoder import Encoder
from xmodal.evaluation.speech_intent import SpeechIntent
from xmodal.metrics_file import read_metrics
from xmodal.report.figures import curves
from xmodal.report.report import Report


def run_report(
    run: Path, encoder: Encoder, evaluators: Mapping[str, SpeechIntent], provenance: Mapping[str, Any]
) -> Report:
    """Evaluate, with pictures. The caller writes the report where it wants it."""
    report = Report(title=f"xmodal run {run}", records=[], provenance={}, notes=[])
    for name, evaluator in evaluators.items():
        report = report.merge(evaluator.evaluate(encoder, name))
    report.title = f"xmodal run {run}"
    report.provenance = {
        **encoder.provenance,
        **provenance,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": versions(),
    }
    report.figures = training_curves(run) | report.figures
    return report


def training_curves(run: Path) -> dict[str, bytes]:
    """Pictures of loss and accuracy against the step, from the run's metrics.jsonl."""
    rows = read_metrics(run)
    figures = {}
    loss = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    if loss:
        figures["training loss"] = curves({"loss": loss}, "training loss", "loss")
    names = sorted({key for row in rows for key in row if key.startswith("eval/") and "/accuracy" in key})
    accuracy = {name.removeprefix("eval/"): [(r["step"], r[name]) for r in rows if name in r] for name in names}
    if accuracy:
        figures["accuracy during training"] = curves(accuracy, "accuracy during training", "accuracy")
    return figures
