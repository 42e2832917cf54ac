"""Zero-shot classification: items (images, or sounds) among classes that are only known by their names.

Class vector: every template filled with the class name, encoded, L2-normalised, averaged, L2-normalised. Score: the
cosine. Radford et al. 2021 (2103.00020), section 3.1; equal to CLIP_benchmark's numbers. Ties: the first class.

Axes: n items, C classes, D embedding.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xmodal.config.evaluators import ZeroShotEvaluator
from xmodal.data.audio import AudioError, scan_headers
from xmodal.data.unusable import require_usable
from xmodal.errors import UserError
from xmodal.evaluation.class_vectors import class_vectors
from xmodal.evaluation.encoder import Encoder
from xmodal.evaluation.imagenet_names import imagenet_classes
from xmodal.evaluation.kept import Embedded
from xmodal.evaluation.labelled import LabelledItems, read_labelled
from xmodal.evaluation.metrics import bootstrap_interval, per_class_table, places_of
from xmodal.evaluation.score_sheet import ScoreSheet
from xmodal.evaluation.subsets import load_subset
from xmodal.evaluation.worst_errors import worst_errors
from xmodal.prompts import fill, load_templates, read_names, readable
from xmodal.report.figures import confusion
from xmodal.report.report import Record, Report

MOST_PICTURED = 60  # classes in a confusion picture
TOP = 5


@dataclass(frozen=True)
class Classes:
    """The candidates: labels, what they are called, and their order's source."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    context: dict[str, Any]


class ZeroShot:
    """The evaluator: an encoder in, a report out; the same object runs during training and from `eval/`.

    Metrics: acc1, acc5 (no value below 5 classes), mean_per_class_recall; for several labels per item
    mean_average_precision.

    Args:
        spec: the evaluator's part of the config.
        kinds: modality -> text, audio or image; those of a usual name need none.

    Raises:
        UserError: unreadable files, unknown subset, a label that is no candidate, fewer than two classes.
    """

    def __init__(self, spec: ZeroShotEvaluator, kinds: Mapping[str, str] | None = None) -> None:
        self.spec = spec
        self.modality = spec.items
        self.templates = load_templates(spec.prompts)
        self._fixed: tuple[Encoder, Embedded] | None = None  # the items' embeddings, where they never change
        test = read_labelled(spec.test, spec.items, spec.cluster, kinds)
        self.classes, self.test, self.left_out = _candidates(spec, test)

    @property
    def files(self) -> Sequence[Path]:
        """The items that are files of their own."""
        return self.test.files

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from."""
        if self.test.several is not None:
            return {"mean_average_precision"}
        return {"acc1", "mean_per_class_recall"} | ({"acc5"} if len(self.classes.labels) >= TOP else set())

    def check(self) -> None:
        """Audio headers are read, files must be there; `UserError` where more than `max_bad` cannot be used."""
        missing = [(str(file), "no such file") for file in self.files if not file.is_file()]
        if self.test.kind == "audio" and not missing:
            found = zip(self.files, scan_headers(self.files), strict=True)
            missing = [(str(file), str(error)) for file, error in found if isinstance(error, AudioError)]
        require_usable(self.spec.test, len(self.test), missing, self.spec.max_bad, "the evaluator's max_bad")

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves tables and pictures out."""
        spec, classes = self.spec, self.classes
        vectors = class_vectors(encoder, spec.text, [fill(self.templates, n) for n in classes.names])
        title = None if brief else name
        if self._fixed is None or self._fixed[0] is not encoder:
            self._fixed = (encoder, encoder.encode_readable(spec.items, self.test.sources, progress=title))
        z, kept, skipped = self._fixed[1]
        if not encoder.is_fixed(spec.items):
            self._fixed = None
        bad = [(str(self.test.names[row]), reason) for row, reason in skipped]
        require_usable(spec.test, len(self.test), bad, spec.max_bad, "the evaluator's max_bad")
        test = self.test.part(kept)
        scores = 100.0 * (z @ vectors.T).numpy()
        report = self._multilabel(name, test, scores) if test.several is not None else self._score(name, test, scores)
        report.title = f"Zero-shot classification: {name}"
        report.notes += self._notes(name, skipped)
        if not brief and test.several is None:
            self._show(report, name, test)
        return report

    def _context(self) -> dict[str, Any]:
        return {
            "candidates": list(self.classes.labels),
            "names": list(self.classes.names),
            "prompts": self.spec.prompts,
            "templates": self.templates,
            "zero_shot": not self.spec.trained,
            "clusters": self.spec.cluster or "every item for itself",
            "left_out": self.left_out,
            **self.classes.context,
        }

    def _score(self, name: str, test: LabelledItems, scores: np.ndarray) -> Report:
        labels, context = self.classes.labels, self._context()
        sheet = ScoreSheet(name, test.names, test.labels, test.clusters)
        hits = sheet.score("acc1", scores, labels, context)
        number = {label: at for at, label in enumerate(labels)}
        true = np.array([number[label] for label in test.labels])
        top = places_of(scores, true) < TOP if len(labels) >= TOP else None
        share = TOP / len(labels) if top is not None else None
        sheet.add("acc5", top, share, context)
        counts = np.bincount(true, minlength=len(labels))
        present = int((counts > 0).sum())
        recalls = np.bincount(true, weights=hits, minlength=len(labels)) / np.maximum(counts, 1)
        recall = float(recalls[counts > 0].mean())
        # each item's pull on the mean recall, classes' sizes being random too: their spread is that of the mean
        pulls = recall + len(true) / (present * counts[true]) * (hits - recalls[true])
        low, high = bootstrap_interval(hits if hits.all() or not hits.any() else pulls, test.clusters)
        chance = 1 / len(labels)
        sheet.records.append(
            Record(name, "mean_per_class_recall", recall, max(0.0, low), min(1.0, high), len(true), chance, context)
        )
        sheet.majority("majority", len(labels), context)
        return Report(records=sheet.records, predictions=sheet.predictions())

    def _multilabel(self, name: str, test: LabelledItems, scores: np.ndarray) -> Report:
        assert test.several is not None
        labels = self.classes.labels
        truth = np.array([[label in found for label in labels] for found in map(set, test.several)])
        values = np.array([average_precision(scores[:, c], truth[:, c]) for c in range(len(labels))])
        low, high = bootstrap_interval(values)  # over classes: that is what is averaged
        chance = float(np.mean([random_average_precision(len(test), int(p)) for p in truth.sum(axis=0)]))
        context = self._context() | {"clusters": "classes"}
        record = Record(name, "mean_average_precision", float(values.mean()), low, high, len(test), chance, context)
        table = pd.DataFrame({"label": labels, "n": truth.sum(axis=0), "average precision": values})
        return Report(records=[record], tables={f"{name}: per class": table})

    def _show(self, report: Report, name: str, test: LabelledItems) -> None:
        rows = report.predictions
        table = per_class_table(rows["true"].to_numpy(), rows["predicted"].to_numpy(), rows["cluster"].to_numpy())
        names = dict(zip(self.classes.labels, self.classes.names, strict=True))
        table.insert(1, "name", table["label"].map(names))
        report.tables[f"{name}: per class"] = table
        if len(self.classes.labels) <= MOST_PICTURED:
            report.figures[f"{name}: confusion"] = confusion(
                rows["true"].to_numpy(), rows["predicted"].to_numpy(), list(self.classes.labels)
            )
        if self.test.kind == "image":
            sheet = worst_errors(rows, test.sources)
            if sheet is not None:
                report.figures[f"{name}: the most confident errors"] = sheet

    def _notes(self, name: str, skipped: Sequence[tuple[int, str]]) -> list[str]:
        spec, notes = self.spec, []
        if spec.synthetic:
            notes.append(f"{name}: the items are synthetic.")
        if spec.trained:
            notes.append(f"{name}: these classes occur in training: prompted classification, not zero-shot.")
        if self.left_out:
            notes.append(f"{name}: {self.left_out} items of classes outside {spec.classes} are left out.")
        repeated = len(self.classes.names) - len(set(self.classes.names))
        if repeated:
            notes.append(f"{name}: {repeated} class names are also another class's: real ties, the first class wins.")
        if skipped:
            notes.append(f"{name}: {len(skipped)} items could not be read and are not scored, first: {skipped[0][1]}")
        return notes


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the positives of the precision at their place, best score first, ties in order; 0 without positives.

    Example:
        average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))  # (1 + 2/3) / 2
    """
    right = truth[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return float(precision[right].sum() / max(1, right.sum()))


def random_average_precision(n: int, positives: int) -> float:
    """What a random order of n items scores on average: (H_n (1 - q) + n q) / n with q = (P - 1) / (n - 1).

    Example:
        random_average_precision(20, 2)  # 0.222
    """
    if positives == 0 or n < 2:
        return float(positives > 0)
    q = (positives - 1) / (n - 1)
    return float((np.sum(1 / np.arange(1, n + 1)) * (1 - q) + n * q) / n)


def _candidates(spec: ZeroShotEvaluator, test: LabelledItems) -> tuple[Classes, LabelledItems, int]:
    """The classes to choose among, the items that are of them, and how many others are left out."""
    found = set(test.labels) if test.several is None else {label for row in test.several for label in row}
    context: dict[str, Any] = {}
    labels, left_out = in_order(found), 0
    if spec.classes is not None:
        if isinstance(spec.classes, str):
            subset = load_subset(spec.classes)
            labels, context = subset.labels, {"classes_from": subset.source, "classes_sha256": subset.sha256}
        else:
            labels = _distinct(spec.classes, found, spec.test)
        if test.several is None:
            wanted = set(labels)
            rows = np.flatnonzero([label in wanted for label in test.labels])
            left_out = len(test) - len(rows)
            test = test.part(rows)
            if not len(test):
                raise UserError(
                    f"{spec.test}: none of its {len(found)} labels (first {sorted(found)[0]!r}) is among the classes"
                )
    if len(labels) < 2:
        raise UserError(f"{spec.test}: {len(labels)} class ({', '.join(labels)}), expected two or more to choose among")
    if spec.names is not None and str(spec.names) == "imagenet":
        given: Any = imagenet_classes()
    else:
        given = read_names(spec.names)
    names = [given.get(label, readable(label)) for label in labels]
    return Classes(tuple(labels), tuple(names), context), test, left_out


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels sorted; class numbers by their size, so that the first of two equal names is the one of the lower number.

    Example:
        in_order({"10", "9"})  # ["9", "10"]
    """
    found = list(labels)
    return sorted(found, key=int) if all(label.isdecimal() for label in found) else sorted(found)


def _distinct(classes: Sequence[str], found: set[str], path: Path) -> list[str]:
    unknown = [label for label in classes if label not in found]
    if unknown:
        near = get_close_matches(unknown[0], found, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(sorted(found)[:8])}"
        raise UserError(f"classes: {unknown[0]!r} is no label of {path}{hint}")
    if len(set(classes)) < len(classes):
        raise UserError(f"classes: {', '.join(classes)}: a label is named twice; name each once")
    return list(classes)
