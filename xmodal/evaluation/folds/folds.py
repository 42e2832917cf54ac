"""Classification by folds: every item is tested once, in the fold that a column of the test puts it in.

Zero-shot, by prompts: nothing is trained. Probes: of every fold by what the other folds teach. Protocol: "By folds" in
docs/evaluation.md. Axes: n items, C classes, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from xmodal.errors import UserError
from xmodal.evaluation.classification.prompted import PromptedClassification
from xmodal.prompts import load_templates

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xmodal.encoding.encoder import Encoder
    from xmodal.evaluation.evaluator import Evaluator
    from xmodal.evaluation.test_sets.labelled import LabelledItems
    from xmodal.report.report import Record, Report


class Folds(PromptedClassification):
    """The evaluator: an encoder in, a report out; the same object runs during training and from the command line.

    Metrics: acc1 over all items; acc1_over_folds, the mean of the folds' accuracies, whose interval is over folds; for
    each probe (not during training) the same two by its name; majority.

    Args:
        spec: the evaluator's part of the config.
        kinds: modality -> text, audio or image; those of a usual name need none.

    Raises:
        UserError: unreadable files, no column of folds, a fold without items, fewer than two folds or classes.

    Example:
        Folds(Folds.Spec(test="esc50/all.jsonl", prompts="sound")).evaluate(encoder, "esc50")
    """

    class Spec(PromptedClassification.Spec):
        """Classification by folds, zero-shot and by probes on the other folds."""

        prompts: str = "sound"
        fold: str = "fold"  # column that says which fold an item is in
        folds: tuple[str, ...] | None = None  # that there must be; default: those found, whole numbers without a gap
        probes: tuple[Literal["linear", "knn"], ...] = ("linear",)
        column: str | None = None  # of the items; default: the modality's name
        label: str | None = None  # column of the labels; default: label
        items: str = "audio"  # the side under test

        def sides(self) -> dict[str, str]:
            """The items' and the prompts'."""
            return {"items": self.items, "text": self.text}

    def __init__(self, spec: Spec, kinds: Mapping[str, str] | None = None) -> None:
        from xmodal.evaluation.test_sets.classes import in_order, named_classes
        from xmodal.evaluation.test_sets.labelled import read_labelled

        self.spec: Folds.Spec = spec
        self.modality = spec.items
        self.templates = load_templates(spec.prompts)
        self.test = read_labelled(
            spec.test, spec.items, spec.cluster, kinds, spec.column, spec.label or "label", further=[spec.fold]
        )
        if self.test.several is not None:
            raise UserError(f"{spec.test}: several labels per item; folds take one (column label)")
        labels = in_order(self.test.found())
        if len(labels) < 2:
            raise UserError(f"{spec.test}: one class ({labels[0]}), expected two or more to choose among")
        self.classes = named_classes(labels, spec.names, spec.test, {})
        self.folds = self._folds(in_order(set(self.test.further[spec.fold])))

    def _folds(self, found: Sequence[str]) -> tuple[str, ...]:
        """The folds in order, none of them without items."""
        spec, wanted = self.spec, self.spec.folds
        if wanted is None and all(fold.isdecimal() for fold in found):
            numbers = sorted({int(fold) for fold in found})
            gaps = [below + 1 for below, above in pairwise(numbers) if above > below + 1]
            wanted = tuple(map(str, [*numbers, *gaps]))
        bare = [fold for fold in wanted or () if fold not in found]
        if bare:
            raise UserError(
                f"{spec.test}: fold {bare[0]} has no items (column {spec.fold!r} holds {', '.join(found)}); is the "
                "corpus complete?"
            )
        strange = [fold for fold in found if wanted is not None and fold not in wanted]
        if strange:
            raise UserError(f"{spec.test}: fold {strange[0]} is none of folds ({', '.join(wanted or ())}); add it")
        if len(found) < 2:
            raise UserError(f"{spec.test}: one fold ({found[0]}), expected two or more")
        return tuple(found)

    def _further_content(self) -> Sequence[Any]:
        return [self.test.further[self.spec.fold].tolist()]

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from."""
        return {"acc1", "acc1_over_folds"}

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves probes and tables out.

        Raises:
            UserError: no item of a fold can be read; one class alone outside of a fold, with probes.
        """
        import pandas as pd

        from xmodal.evaluation.classification.score_sheet import ScoreSheet
        from xmodal.evaluation.classification.worst_errors import show_worst_errors
        from xmodal.evaluation.statistics.metrics import bootstrap_interval
        from xmodal.report.report import Report

        spec, labels = self.spec, self.classes.labels
        z, test, _, skipped = self.encoded(encoder, None if brief else name)
        fold = test.further[spec.fold]
        lost = [each for each in self.folds if each not in set(fold)]
        if lost:
            raise UserError(f"{spec.test}: fold {lost[0]}: none of its items can be read; mend them")
        sheet = ScoreSheet(name, test.names, test.labels, test.clusters)
        context = {
            "items": test.kind,
            "candidates": list(labels),
            "prompts": spec.prompts,
            "templates": self.templates,
            "folds": list(self.folds),
            "clusters": test.clustered_by or "every item for itself",
        }
        unseen = self.unseen(encoder)
        vectors = self.class_vectors(encoder)
        hits = {"acc1": sheet.score("acc1", 100.0 * (z @ vectors.T).numpy(), labels, context | {"zero_shot": unseen})}
        for probe in () if brief else spec.probes:
            scores, told = self._probed(probe, z.numpy(), test, fold)
            hits[probe] = sheet.score(probe, scores, labels, context | told | {"zero_shot": False})
        rows = []
        for metric, right in hits.items():
            sheet.records.append(self._over_folds(name, metric, right, fold, context))
            for one in self.folds:
                part, clusters = right[fold == one], test.clusters[fold == one]
                rows.append((metric, one, len(part), float(part.mean()), *bootstrap_interval(part, clusters)))
        sheet.majority("majority", len(labels), context)
        report = Report(title=f"By folds: {name}", records=sheet.records, predictions=sheet.predictions())
        report.notes += self.notes(name, skipped, encoder)
        if not brief:
            shown = pd.DataFrame(rows, columns=["metric", "fold", "n", "accuracy", "low", "high"])
            report.tables[f"{name}: by fold"] = shown
            self._show(report, name)
            show_worst_errors(report, name, report.predictions[report.predictions["protocol"] == "acc1"], test)
        return report

    def _over_folds(
        self, name: str, metric: str, right: NDArray[np.bool_], fold: NDArray[Any], context: dict[str, Any]
    ) -> Record:
        """The mean of the folds' accuracies, out of which items [n] are right and the fold [n] of each."""
        from xmodal.evaluation.statistics.metrics import bootstrap_interval
        from xmodal.report.report import Record

        means = [float(right[fold == one].mean()) for one in self.folds]
        mean, (low, high) = sum(means) / len(means), bootstrap_interval(means)
        told = {"interval_over": f"{len(means)} folds", "worst_fold": min(means), "best_fold": max(means)}
        chance = 1 / len(self.classes.labels)
        return Record(name, f"{metric}_over_folds", mean, low, high, len(right), chance, context | told)

    def _probed(
        self, probe: str, z: NDArray[np.float32], test: LabelledItems, fold: NDArray[Any]
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Scores [n, C] of every item by a probe on the folds that it is not in; what was chosen, by fold.

        What is chosen (C, k) is chosen on one of the training folds; with two folds in all on a part of the other one.
        """
        import numpy as np

        from xmodal.evaluation.probes.probe import knn_probe, linear_probe

        labels = list(self.classes.labels)
        for one in self.folds:
            taught = set(test.labels[fold != one])
            if len(taught) < 2:
                raise UserError(
                    f"{self.spec.test}: fold {one}: the other folds hold one class ({', '.join(taught)}), and a probe "
                    "has nothing to tell apart; make other folds, or leave the probes out (--probes without a name)"
                )
        scores, chosen = np.zeros((len(test), len(labels))), {}
        for one in self.folds:
            tested = fold == one
            groups = fold[~tested] if len(self.folds) > 2 else None
            made = linear_probe if probe == "linear" else knn_probe
            found = made(z[~tested], test.labels[~tested], z[tested], groups=groups)
            columns = np.array([labels.index(label) for label in found.classes])
            scores[np.ix_(np.flatnonzero(tested), columns)] = found.scores
            chosen[one] = found.context["C" if probe == "linear" else "k"]
        return scores, {"chosen": [f"fold {one}: {value:g}" for one, value in chosen.items()]}

    def _show(self, report: Report, name: str) -> None:
        from xmodal.evaluation.statistics.metrics import per_class_table
        from xmodal.report.figures import confusion

        for metric in dict.fromkeys(report.predictions["protocol"]):
            rows = report.predictions[report.predictions["protocol"] == metric]
            true, predicted = rows["true"].to_numpy(), rows["predicted"].to_numpy()
            table = per_class_table(true, predicted, rows["cluster"].to_numpy())
            report.tables[f"{name}: per class ({metric})"] = table
            picture = confusion(true, predicted, list(self.classes.labels), f"Confusion ({metric})")
            report.figures[f"{name}: confusion ({metric})"] = picture


if TYPE_CHECKING:
    _is_evaluator: type[Evaluator] = Folds
