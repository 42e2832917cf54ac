"""Zero-shot classification: items (images, or sounds) among classes that are only known by their names.

Class vector: every template filled with the class name, encoded, L2-normalised, averaged, L2-normalised. Score: the
cosine. Radford et al. 2021 (2103.00020), section 3.1; equal to CLIP_benchmark's numbers. Ties: the first class.

Axes: n items, C classes, D embedding.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from xmodal.config.evaluators import ZeroShotEvaluator
from xmodal.data.unusable import require_usable
from xmodal.encoding.encoder import Encoder
from xmodal.encoding.kept import Embedded, digest_of
from xmodal.evaluation.classification.class_vectors import class_vectors
from xmodal.evaluation.classification.score_sheet import ScoreSheet
from xmodal.evaluation.classification.worst_errors import worst_errors
from xmodal.evaluation.statistics.metrics import bootstrap_interval, per_class_table, places_of
from xmodal.evaluation.statistics.multilabel import multilabel_report
from xmodal.evaluation.test_sets.classes import candidates, in_order
from xmodal.evaluation.test_sets.labelled import LabelledItems, read_labelled
from xmodal.evaluation.test_sets.located import unusable_files
from xmodal.prompts import fill, load_templates, readable
from xmodal.report.figures import confusion
from xmodal.report.report import Record, Report

PAIRS = 20  # most confused ones, in a table
TOP = 5


class ZeroShot:
    """The evaluator: an encoder in, a report out; the same object runs during training and from `eval/`.

    Metrics: acc1, acc5 (no value below 5 classes), mean_per_class_recall; for several labels per item
    mean_average_precision and precision@1 (see `multilabel.py`).

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
        self._items: tuple[Encoder, Embedded] | None = None  # their embeddings, where they never change
        self._vectors: tuple[Encoder, Tensor] | None = None  # the classes', likewise
        test = read_labelled(spec.test, spec.items, spec.cluster, kinds, spec.column, spec.label)
        self.classes, self.test, self.left_out = candidates(spec, test)

    @property
    def files(self) -> Sequence[Path]:
        """The items that are files of their own."""
        return self.test.files

    def content(self) -> str:
        """A digest of items, labels, candidates and templates."""
        test = self.test
        told = [test.names.tolist(), test.labels.tolist(), test.several, test.clusters.tolist(), self.templates]
        return digest_of(test.sources, [*told, self.classes.labels, self.classes.names])

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from."""
        if self.test.several is not None:
            return {"mean_average_precision", "precision@1"}
        return {"acc1", "mean_per_class_recall"} | ({"acc5"} if len(self.classes.labels) >= TOP else set())

    def check(self) -> None:
        """Audio headers are read, files must be there; `UserError` where more than `max_bad` cannot be used."""
        bad = unusable_files(self.files, self.test.kind)
        require_usable(self.spec.test, len(self.test), bad, self.spec.max_bad, "the evaluator's max_bad")

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves tables and pictures out."""
        spec = self.spec
        vectors = self._class_vectors(encoder)
        z, kept, skipped = self._embedded(encoder, None if brief else name)
        bad = [(str(self.test.names[row]), reason) for row, reason in skipped]
        require_usable(spec.test, len(self.test), bad, spec.max_bad, "the evaluator's max_bad")
        test = self.test.part(kept)
        scores = 100.0 * (z @ vectors.T).numpy()
        context = self._context(encoder)
        if test.several is not None:
            report = multilabel_report(name, test, scores, self.classes.labels, context)
        else:
            report = self._score(name, test, scores, context)
        report.title = f"Zero-shot classification: {name}"
        report.notes += self.notes(name, skipped, encoder)
        if not brief:
            self._show(report, name, test)
        return report

    def _class_vectors(self, encoder: Encoder) -> Tensor:
        if self._vectors is None or self._vectors[0] is not encoder:
            prompts = [fill(self.templates, name) for name in self.classes.names]
            self._vectors = encoder, class_vectors(encoder, self.spec.text, prompts)
        vectors = self._vectors[1]
        if not encoder.is_fixed(self.spec.text):
            self._vectors = None
        return vectors

    def _embedded(self, encoder: Encoder, title: str | None) -> Embedded:
        if self._items is None or self._items[0] is not encoder:
            self._items = encoder, encoder.encode_readable(self.spec.items, self.test.sources, progress=title)
        embedded = self._items[1]
        if not encoder.is_fixed(self.spec.items):
            self._items = None
        return embedded

    def trained(self, encoder: Encoder) -> list[str]:
        """Classes of the test that occur in training, as far as the run's own labels tell, by label or by name."""
        found = self.test.labels if self.test.several is None else [label for row in self.test.several for label in row]
        names = dict(zip(self.classes.labels, self.classes.names, strict=True))
        known = {readable(label).lower() for label in encoder.trained_labels}
        asked = in_order(set(found) & names.keys())  # items of several labels may have others besides
        return [label for label in asked if {readable(x).lower() for x in (label, names[label])} & known]

    def _context(self, encoder: Encoder) -> dict[str, Any]:
        return {
            "candidates": list(self.classes.labels),
            "names": list(self.classes.names),
            "prompts": self.spec.prompts,
            "templates": self.templates,
            "zero_shot": not (self.spec.trained or self.trained(encoder)),
            "clusters": self.spec.cluster or "every item for itself",
            "left_out": self.left_out,
            **self.classes.context,
        }

    def _score(self, name: str, test: LabelledItems, scores: np.ndarray, context: dict[str, Any]) -> Report:
        labels = self.classes.labels
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
        even = np.ptp(pulls) == 0  # every class all right or all wrong: the pulls say nothing
        low, high = bootstrap_interval(hits if even else pulls, test.clusters)
        chance = 1 / len(labels)
        low, high = np.clip([low, high], 0.0, 1.0).tolist()  # of one cluster they are NaN, and stay it
        sheet.records.append(Record(name, "mean_per_class_recall", recall, low, high, len(true), chance, context))
        sheet.majority("majority", len(labels), context)
        return Report(records=sheet.records, predictions=sheet.predictions())

    def _show(self, report: Report, name: str, test: LabelledItems) -> None:
        rows, names = report.predictions, dict(zip(self.classes.labels, self.classes.names, strict=True))
        if test.several is None:
            true, predicted = rows["true"].to_numpy(), rows["predicted"].to_numpy()
            report.tables[f"{name}: per class"] = per_class_table(true, predicted, rows["cluster"].to_numpy())
            report.tables[f"{name}: the most confused pairs"] = confused_pairs(true, predicted)
            report.figures[f"{name}: confusion"] = confusion(true, predicted, list(self.classes.labels))
        table = report.tables[f"{name}: per class"]
        table.insert(1, "name", table["label"].map(names))
        if self.test.kind == "image":
            sheet = worst_errors(rows, test.sources)
            if sheet is not None:
                report.figures[f"{name}: the most confident errors"] = sheet

    def notes(self, name: str, skipped: Sequence[tuple[int, str]], *encoders: Encoder) -> list[str]:
        """What a reader must know of the test, and of what could not be read of it (positions and reasons)."""
        spec, notes = self.spec, []
        if spec.synthetic:
            notes.append(f"{name}: the items are synthetic.")
        if spec.trained:
            notes.append(f"{name}: these classes occur in training: prompted classification, not zero-shot.")
        else:
            seen = {encoder.name: self.trained(encoder) for encoder in encoders}
            notes += [
                f"{name}: {len(labels)} of its classes occur in the training of {run} ({', '.join(labels[:3])}"
                f"{', ...' if labels[3:] else ''}): prompted classification, not zero-shot."
                for run, labels in seen.items()
                if labels
            ]
        if self.left_out:
            notes.append(f"{name}: {self.left_out} items of classes outside {spec.classes} are left out.")
        repeated = len(self.classes.names) - len(set(self.classes.names))
        if repeated:
            notes.append(f"{name}: {repeated} class names are also another class's: real ties, the first class wins.")
        if skipped:
            notes.append(f"{name}: {len(skipped)} items could not be read and are not scored, first: {skipped[0][1]}")
        return notes


def confused_pairs(true: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """The pairs of classes most often confused: true, predicted, how many items, their share of the true class."""
    totals = Counter(true)
    pairs = Counter((t, p) for t, p in zip(true, predicted, strict=True) if t != p)
    rows = [(t, p, n, n / totals[t]) for (t, p), n in pairs.items()]
    rows.sort(key=lambda row: (-row[2], -row[3], str(row[0]), str(row[1])))
    return pd.DataFrame(rows[:PAIRS], columns=["true", "predicted", "n", "share"])
