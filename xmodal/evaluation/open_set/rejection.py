"""None of these: an item is rejected where its best score is below a threshold that another set chose.

Input: best scores of a test's and a dev set's items. Output: records, outcomes, a picture. Axes: n items, C classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from xmodal.evaluation.statistics.detection import Detection, best_threshold
from xmodal.evaluation.statistics.metrics import bootstrap_interval, first_argmax
from xmodal.report.detection_figures import roc
from xmodal.report.record import Record

NONE = "none of these"
RANKED = ("auroc", "fpr_at_95_tpr")  # metrics that no threshold enters


@dataclass(frozen=True)
class Answers:
    """Answers to the items of one set, before any is rejected."""

    best: NDArray[np.float64]  # [n] score of the best class
    predicted: NDArray[Any]  # [n] that class
    true: NDArray[Any]  # [n] labels; None: none of the classes
    clusters: NDArray[Any]  # [n]
    names: NDArray[Any]  # [n]

    @classmethod
    def of(
        cls,
        scores: ArrayLike,
        classes: tuple[str, ...],
        labels: NDArray[Any],
        clusters: NDArray[Any],
        names: NDArray[Any],
    ) -> "Answers":
        """Out of scores [n, C]; a label that is none of the classes counts as none of these."""
        matrix = np.asarray(scores, dtype=np.float64)
        best, _ = first_argmax(matrix)
        known = set(classes)
        true = np.array([label if label in known else None for label in labels], dtype=object)
        top = matrix[np.arange(len(matrix)), best]
        return cls(top, np.array(classes, dtype=object)[best], true, clusters, names)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which items are of a class, [n]."""
        return np.array([label is not None for label in self.true], dtype=bool)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which items are of the class that is best, [n]."""
        return np.asarray(self.predicted == self.true, dtype=bool)


def threshold_of(dev: Answers) -> float:
    """The threshold that a dev set chooses; see `best_threshold`."""
    return best_threshold(dev.best, dev.known, dev.right)


def rejection_records(
    dataset: str, suffix: str, test: Answers, threshold: float, classes: int, context: dict[str, Any]
) -> tuple[list[Record], pd.DataFrame]:
    """Records and per-item outcomes of a test whose answers are rejected below a threshold.

    Args:
        dataset: its name in the report.
        suffix: of the metrics' names.
        test: n items.
        threshold: chosen elsewhere.
        classes: how many there are.
        context: of the records.

    Returns:
        auroc, fpr_at_95_tpr, accuracy_open, rejected_known and accepted_none, in this order; those that ask for items
        that are none of the classes have no value where there is none.
    """
    known, accepted = test.known, test.best >= threshold
    predicted = np.where(accepted, test.predicted, NONE)
    true = np.where(known, test.true, NONE)
    hits = predicted == true
    context = context | {"threshold": threshold}
    records = []
    both = known.any() and not known.all()
    found = Detection(test.best, known, test.clusters) if both else None
    values: tuple[float | None, float | None] = (found.auroc, found.fpr_at_95_tpr) if found else (None, None)
    intervals = found.intervals() if found else ((None, None), (None, None))
    for metric, value, (low, high), chance in zip(RANKED, values, intervals, (0.5, 0.95), strict=True):
        records.append(Record(dataset, metric + suffix, value, low, high, len(known), chance, context))
    everything = np.ones_like(known)
    shares = {"accuracy_open": (everything, hits), "rejected_known": (known, ~accepted)}
    for metric, (rows, outcome) in (shares | {"accepted_none": (~known, accepted)}).items():
        mean = float(outcome[rows].mean()) if rows.any() else None
        low, high = bootstrap_interval(outcome[rows], test.clusters[rows]) if rows.any() else (None, None)
        random = 1 / (classes + 1) if rows is everything else None
        records.append(Record(dataset, metric + suffix, mean, low, high, int(rows.sum()), random, context))
    outcomes = pd.DataFrame(
        {
            "dataset": dataset,
            "protocol": f"accuracy_open{suffix}",
            "item": test.names.astype(str),
            "cluster": test.clusters.astype(str),
            "true": true,
            "predicted": predicted,
            "score": test.best,
            "correct": hits,
        }
    )
    return records, outcomes


def rejection_picture(title: str, test: Answers, threshold: float) -> bytes | None:
    """The ROC of a test with the threshold's point; None where all its items, or none, are of a class."""
    known = test.known
    if known.all() or not known.any():
        return None
    found = Detection(test.best, known)
    wanted, others = found.rates()
    at = float((test.best[known] >= threshold).mean()), float((test.best[~known] >= threshold).mean())
    return roc(others, wanted, (at[1], at[0]), title, f"AUROC {found.auroc:.3f}; dot: the threshold from the dev set")
