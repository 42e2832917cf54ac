"""The report behind `eval/probe.py`: probes of one modality's embeddings, and diagnostics of the space they lie in.

Enters: an encoder, a training and a test set. Leaves: a `Report`. The protocols: `probe.py` and `diagnostics.py`.
Axes: n items or pairs, D embedding.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from xmodal.checkpoint import versions
from xmodal.config.data import ModalitySpec, TextModality, as_tested
from xmodal.config.objectives import Kernel as KernelSpec
from xmodal.data.items import Items, read_pairs
from xmodal.data.manifest import root_of, strings
from xmodal.data.place import file_of, is_place
from xmodal.data.unusable import require_usable
from xmodal.errors import UserError
from xmodal.evaluation import diagnostics
from xmodal.evaluation.encoder import Encoder
from xmodal.evaluation.labelled import LabelledItems, located, read_labelled
from xmodal.evaluation.metrics import bootstrap_interval
from xmodal.evaluation.probe import ClassScores, drawn_interval, few_shot, knn_probe, linear_probe
from xmodal.evaluation.run_report import Tested, run_notes
from xmodal.evaluation.score_sheet import ScoreSheet
from xmodal.objectives.kernels import Affine, Kernel, build_kernel
from xmodal.prompts import readable
from xmodal.report.figures import similarity_matrix
from xmodal.report.report import Record, Report

PROBES = ("linear", "knn", "few_shot")
DIAGNOSED = 10_000  # pairs; what is quadratic in them takes some ten seconds
PICTURED = 240  # items in a similarity matrix
NEIGHBOURS = 10  # of mutual kNN, as in its paper


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
    shots: tuple[int, ...] = (1, 4, 16)
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
        report = report.merge(_diagnosed(encoder, plan, name))
    files = read_labelled(plan.test, plan.modality, None, encoder.kinds).files if probes else []
    report.notes += run_notes(Path(encoder.name), encoder.provenance, {name: Tested(plan.test, plan.modality, files)})
    report.provenance = {
        **encoder.provenance,
        "train": None if plan.train is None else str(plan.train),
        "test": str(plan.test),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
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
    for shots in plan.shots:
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
    known = {_one_name(source) for source in train.sources}
    both = sum(_one_name(source) in known for source in test.sources)
    if both:
        notes.append(f"{name}: {both} of {len(test)} test items are also training items of the probe.")
    return notes


def _one_name(source: str | Path | bytes) -> str | bytes:
    """Texts and bytes are what they hold; a file, and the archive a place lies in, has many names and one real path."""
    if isinstance(source, Path):
        return os.path.realpath(source)
    if isinstance(source, str) and is_place(source):
        archive = file_of(source)
        return os.path.realpath(archive) + source.removeprefix(archive)
    return source


# ---------------------------------------------------------------------------------------------------------- diagnostics


def _diagnosed(encoder: Encoder, plan: ProbePlan, name: str) -> Report:
    pairs = _pairs(encoder, plan)
    a, b = pairs.a, pairs.b
    one, two = plan.modality, plan.text
    report = Report()
    context = {"modalities": [one] if b is None else [one, two], "texts": "class names" if pairs.named else "captions"}
    sheet = _Diagnosis(report, name, context if b is not None else {"modalities": [one]}, len(a))
    if pairs.bad:
        report.notes.append(f"{name}: {pairs.bad} items could not be read and are left out of the diagnostics.")
    if b is None:
        report.notes.append(f"{name}: no texts (a column {two!r}, or label) that the model encodes: {one} alone.")
    kernel = kernel_of(encoder)
    for modality, z in ((one, a), (two, None if pairs.named else b)):
        if z is not None:
            sheet.add(f"uniformity_{modality}", diagnostics.uniformity(z))
            drawn = diagnostics.effective_positives(z, kernel)
            guide = encoder.is_fixed(modality)
            facts = {"kernel": str(kernel), "guide": guide}
            sheet.mean(f"effective_positives_{modality}", drawn, None, facts, bounds=None)
    if b is not None:
        _compared(sheet, a, b, pairs.named)
    report.figures = _pictures(name, a, b, pairs.labels, (one, two))
    return report


def _compared(sheet: "_Diagnosis", a: Tensor, b: Tensor, named: bool) -> None:
    """Two modalities beside each other. Of class names many are equal, which says nothing of neighbours."""
    if a.shape == b.shape:
        sheet.add("modality_gap", diagnostics.modality_gap(a, b))
        sheet.mean("linear_separability", diagnostics.linear_separability(a, b), 0.5)
        shuffled = diagnostics.shuffled_alignment(a, b)
        sheet.mean("alignment", diagnostics.alignment(a, b), shuffled, bounds=(0.0, 4.0))
    if not named:
        sheet.add("linear_cka_debiased", diagnostics.debiased_cka(a, b), 0.0)
    if not named and len(a) > NEIGHBOURS:
        chance = NEIGHBOURS / (len(a) - 1)
        sheet.mean("mutual_knn", diagnostics.mutual_knn(a, b, NEIGHBOURS), chance, {"k": NEIGHBOURS})


def kernel_of(encoder: Encoder) -> Kernel:
    """The kernel the model was trained with; CWCL's own where it had none."""
    spec = (encoder.provenance.get("objective") or {}).get("kernel")
    return Affine() if spec is None else build_kernel(TypeAdapter(KernelSpec).validate_python(spec))


@dataclass
class _Diagnosis:
    """Writes records."""

    report: Report
    dataset: str
    base: dict[str, Any]
    n: int

    def add(self, metric: str, found: diagnostics.Estimate, chance: float | None = None) -> None:
        context = self.base | {"interval": "jackknife"}
        self.report.records.append(
            Record(self.dataset, metric, found.value, found.low, found.high, self.n, chance, context)
        )

    def mean(
        self,
        metric: str,
        values: NDArray[np.float64],
        chance: float | None = None,
        context: dict[str, Any] | None = None,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        low, high = bootstrap_interval(values, bounds=bounds)
        context = self.base | {"interval": "bootstrap"} | (context or {})
        self.report.records.append(Record(self.dataset, metric, values.mean(), low, high, len(values), chance, context))


@dataclass(frozen=True)
class _Pairs:
    a: Tensor  # [n, D]
    b: Tensor | None  # [n, D'] the texts
    labels: list[str]  # [n]
    named: bool  # the texts are class names, for want of captions
    bad: int  # items that could not be read


def _pairs(encoder: Encoder, plan: ProbePlan) -> _Pairs:
    """At most `DIAGNOSED` pairs; each item once, and each caption: repeats would be each other's neighbours."""
    kind = encoder.kind(plan.modality)
    sides: dict[str, ModalitySpec] = {plan.modality: as_tested(plan.modality, encoder.kinds)}
    manifest, items = read_pairs(plan.test, sides)
    has_text = plan.text in encoder.towers and plan.text != plan.modality
    if has_text and plan.text in manifest.column_names:
        manifest, items = read_pairs(plan.test, sides | {plan.text: TextModality()})
    labelled = "label" in manifest.column_names
    rows = _distinct(list(items.values()))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(DIAGNOSED, len(rows))).astype(int))]

    def values(modality: str) -> list[str | bytes]:
        side = items[modality]
        return [side.value(int(side.first[row])) for row in rows]

    sources = values(plan.modality)
    a, kept, skipped = encoder.encode_readable(
        plan.modality,
        sources if kind == "text" else [located(value, root_of(plan.test)) for value in sources],
        progress=f"{plan.modality} of {plan.test}",
    )
    names = strings(manifest, "id").to_pylist()
    bad = [(names[rows[at]], reason) for at, reason in skipped]
    require_usable(plan.test, len(rows), bad, plan.max_bad, "--max-bad")
    all_labels = strings(manifest, "label").to_pylist() if labelled else [""] * len(manifest)
    labels = [str(all_labels[row]) for row in rows[kept]]
    b, named = None, has_text and labelled and plan.text not in items
    if named:
        classes = sorted(set(labels))
        z = encoder.encode(plan.text, [readable(label) for label in classes])
        b = z[[classes.index(label) for label in labels]]
    elif plan.text in items:
        texts = values(plan.text)
        b = encoder.encode(plan.text, [str(texts[at]) for at in kept])
    return _Pairs(a, b, labels, named, len(bad))


def _distinct(sides: Sequence[Items]) -> NDArray[np.int64]:
    """Rows whose items, on every side, no earlier row holds."""
    repeated = [pd.Series(side.ids[side.first]).duplicated().to_numpy() for side in sides]
    return np.flatnonzero(~np.logical_or.reduce(repeated))


def _pictures(name: str, a: Tensor, b: Tensor | None, labels: list[str], names: tuple[str, str]) -> dict[str, bytes]:
    order = np.argsort(np.array(labels, dtype=str), kind="stable")
    picked = order[np.linspace(0, len(order) - 1, min(PICTURED, len(order))).astype(int)]
    shown = [labels[i] for i in picked]
    one, two = names
    sides = [(one, a, one, a)]
    if b is not None:
        sides += [(two, b, two, b)] + ([(one, a, two, b)] if a.shape == b.shape else [])
    return {
        f"{name}: {row}-{column} similarity": similarity_matrix(
            (x[picked] @ y[picked].T).numpy(), shown, f"{row} and {column}", row, column
        )
        for row, x, column, y in sides
    }
