"""The report behind `xmodal probe`: probes of one modality's embeddings, and diagnostics of the space they lie in.

Input: an encoder, a training and a test set. Output: a `Report`. The protocols: `probe.py` and `diagnostics.py`.
Axes: n items, D embedding.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from xmodal.data.unusable import require_usable
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.classification.score_sheet import ScoreSheet
from xmodal.evaluation.probes.diagnosis import diagnosed
from xmodal.evaluation.probes.probe import ClassScores, few_shot, knn_probe, linear_probe
from xmodal.evaluation.runs.run_report import Tested, cut_notes, run_notes
from xmodal.evaluation.statistics.drawn_interval import drawn_interval
from xmodal.evaluation.test_sets.item_sources import one_name
from xmodal.evaluation.test_sets.labelled import LabelledItems, read_labelled
from xmodal.provenance import made_here
from xmodal.report.report import Record, Report

PROBES = ("linear", "knn", "few_shot")
SHOTS = (1, 4, 16)  # examples per class, where nobody says otherwise


@dataclass(frozen=True)
class ProbePlan:
    """What to measure, and on what.

    `group` is a column of both sets: training items of one group are never on both sides of a choice, and intervals
    resample whole groups of test items.
    """

    test: Path
    train: Path | None = None  # not needed for diagnostics alone
    modality: str = "image"
    text: str = "text"  # the other modality of the diagnostics, and its column in `test`
    what: tuple[str, ...] = (*PROBES, "diagnostics")
    k: int | None = None  # neighbours; None: chosen
    shots: tuple[int, ...] | None = None  # examples per class; none: those of `SHOTS` that every class has
    group: str | None = None
    max_bad: float = 0.01  # share of items that may be unreadable


def probe_report(encoder: Encoder, plan: ProbePlan) -> Report:
    """Probe and diagnose.

    Raises:
        UserError: files that cannot be used, too many unreadable items, or what the probes raise.

    Example:
        probe_report(xmodal.load("runs/cifar"), ProbePlan(Path("test.parquet"), Path("train.parquet"))).write(folder)
    """
    encoder.kind(plan.modality)
    name = plan.test.stem
    report = Report(title=f"Probes of {encoder.name}: {plan.modality}")
    probes = [probe for probe in PROBES if probe in plan.what]
    if probes:
        if plan.train is None:
            raise UserError(f"{', '.join(probes)}: need training items; give --train FILE, or --what diagnostics")
        report = report.merge(_probed(encoder, plan, plan.train, probes, name))
    if "diagnostics" in plan.what:
        report = report.merge(diagnosed(encoder, plan.test, plan.modality, plan.text, plan.max_bad))
    files = read_labelled(plan.test, plan.modality, None, encoder.kinds).files if probes else []
    if encoder.folder is not None:
        under_test = {name: Tested(plan.test, plan.modality, files)}
        report.notes += run_notes(encoder.folder, encoder.provenance, under_test)
    report.notes += cut_notes(encoder)
    report.provenance = {
        **encoder.provenance,
        "train": None if plan.train is None else str(plan.train),
        "test": str(plan.test),
        **made_here(),
    }
    return report


# --------------------------------------------------------------------------------------------------------------- probes


def _probed(encoder: Encoder, plan: ProbePlan, train_path: Path, probes: Sequence[str], name: str) -> Report:
    sets = [_labelled(path, plan, encoder.kinds) for path in (train_path, plan.test)]
    (z, train), (z_test, test) = (_encoded(encoder, plan, items) for items in sets)
    groups = train.clusters if plan.group else None
    sheet = ScoreSheet(name, test.names, test.labels, test.clusters)
    classes = sorted(set(train.labels))
    outside = [label for label in test.labels if label not in set(classes)]
    base = {
        "candidates": classes,
        "modality": plan.modality,
        "zero_shot": False,
        "clusters": plan.group or "item",
        "training_items": len(train),
    }
    data = (z.numpy(), train.labels, z_test.numpy())
    # first: that a class has too few examples is known before minutes are spent
    report = _few_shots(data, test, plan, name, base) if "few_shot" in probes else Report()
    if "linear" in probes:
        _scored(sheet, "linear", linear_probe(*data, groups=groups), base, report)
    if "knn" in probes:
        _scored(sheet, "knn", knn_probe(*data, k=plan.k, groups=groups), base, report)
    sheet.majority("majority", len(classes), base)
    frames = [report.predictions, *([sheet.predictions()] if set(probes) - {"few_shot"} else [])]
    report.records = [*sheet.records, *report.records]
    report.predictions = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    report.notes = [*_notes(name, train, test, outside, sets), *report.notes]
    return report


def _scored(sheet: ScoreSheet, metric: str, found: ClassScores, base: dict[str, Any], report: Report) -> None:
    sheet.score(metric, found.scores, found.classes, base | found.context)
    if found.context.get("C_at_edge"):
        report.notes.append(f"{sheet.dataset}/{metric}: the best C ({found.context['C']:g}) is the grid's outermost.")
    if not found.context.get("converged", True):
        report.notes.append(f"{sheet.dataset}/{metric}: the logistic regression has not converged.")


def _few_shots(
    data: tuple[NDArray, NDArray, NDArray], test: LabelledItems, plan: ProbePlan, name: str, base: dict[str, Any]
) -> Report:
    """Mean over draws for every number of shots; the outcome of every item in every draw."""
    report, rows = Report(), []
    label, fewest = min(Counter(map(str, data[1])).items(), key=lambda found: (found[1], found[0]))
    for shots in plan.shots or [shots for shots in SHOTS if shots <= fewest]:
        draws = few_shot(*data, shots=shots)
        sheet = ScoreSheet(name, test.names, test.labels, test.clusters)
        hits = np.stack(
            [sheet.answer(f"few_shot_{shots}_draw_{i}", d.scores, d.classes)[0] for i, d in enumerate(draws)]
        )
        each = hits.mean(1)
        low, high = drawn_interval(hits, test.clusters)
        context = base | {
            "shots": shots,
            "draws": len(draws),
            "C": draws[0].context["C"],
            "training_items": shots * len(draws[0].classes),
            "converged": all(d.context["converged"] for d in draws),
        }
        chance = 1 / len(draws[0].classes)
        report.records.append(Record(name, f"few_shot_{shots}", each.mean(), low, high, len(test), chance, context))
        rows.append((shots, len(draws), each.mean(), low, high, each.std(ddof=1), each.min(), each.max()))
        report.predictions = pd.concat([report.predictions, sheet.predictions()], ignore_index=True)
    for shots in SHOTS if plan.shots is None else ():
        if shots > fewest:
            report.notes.append(f"{name}: few-shot: {shots} shots are left out: {label!r} has {fewest} training items.")
    columns = ["shots", "draws", "mean", "low", "high", "sd over draws", "worst draw", "best draw"]
    report.tables[f"{name}: few-shot linear probe"] = pd.DataFrame(rows, columns=columns)
    return report


def _labelled(path: Path, plan: ProbePlan, kinds: Mapping[str, str]) -> LabelledItems:
    items = read_labelled(path, plan.modality, plan.group, kinds)
    if items.several is not None:
        raise UserError(f"{path}: several labels per item; probes take one (column label)")
    return items


def _encoded(encoder: Encoder, plan: ProbePlan, items: LabelledItems) -> tuple[Tensor, LabelledItems]:
    z, kept, skipped = encoder.encode_readable(plan.modality, items.sources, progress=str(items.path))
    bad = [(str(items.names[row]), reason) for row, reason in skipped]
    require_usable(items.path, len(items), bad, plan.max_bad, "--max-bad")
    return z, items.part(kept)


def _notes(
    name: str, train: LabelledItems, test: LabelledItems, outside: list[str], sets: Sequence[LabelledItems]
) -> list[str]:
    notes = []
    if outside:
        notes.append(
            f"{name}: {len(outside)} of {len(test)} test items are of classes that training lacks, so always wrong: "
            f"{', '.join(sorted(set(outside)))}."
        )
    for read, used in zip(sets, (train, test), strict=True):
        if len(used) < len(read):
            notes.append(
                f"{read.path}: {len(read) - len(used)} of {len(read)} items could not be read and are left out."
            )
    known = {one_name(source) for source in train.sources}
    both = sum(one_name(source) in known for source in test.sources)
    if both:
        notes.append(f"{name}: {both} of {len(test)} test items are also training items of the probe.")
    return notes
