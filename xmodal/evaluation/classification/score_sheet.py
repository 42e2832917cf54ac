"""Scores of one data set, written down as records and as per-item outcomes.

Axes: n test items, C candidate classes.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xmodal.evaluation.statistics.metrics import (
    bootstrap_interval,
    first_argmax,
    majority,
    paired_interval,
    ratio_interval,
)
from xmodal.report.report import Record

NO_ANSWER = "no answer"  # what is predicted where there is nothing to score


class ScoreSheet:
    """What a test set came to, one protocol after another.

    Args:
        dataset: its name in the report.
        items: [n] item names.
        true: [n] labels.
        clusters: [n] what intervals resample: items of one cluster are not independent.

    Example:
        sheet = ScoreSheet("devel", ids, labels, sentences)
        hits = sheet.score("accuracy_prompt", scores, classes, {"templates": 5})
        sheet.records, sheet.predictions()
    """

    def __init__(self, dataset: str, items: NDArray, true: NDArray, clusters: NDArray) -> None:
        self.dataset, self.items, self.true, self.clusters = dataset, items, true, clusters
        self.records: list[Record] = []
        self._frames: list[pd.DataFrame] = []

    def score(
        self,
        metric: str,
        scores: NDArray,
        classes: tuple[str, ...],
        context: dict[str, Any],
        answered: NDArray | None = None,
    ) -> NDArray:
        """Top-1 accuracy of `scores` [n, C]; returns which items are right, [n] bool. Ties go to the first class.

        Items that are not `answered` [n] are wrong, whatever their scores.
        """
        hits, ties = self.answer(metric, scores, classes, answered)
        interval = bootstrap_interval(hits, self.clusters)
        self._record(metric, float(hits.mean()), interval, 1 / len(classes), context | {"ties": ties})
        return hits

    def answer(
        self, protocol: str, scores: NDArray, classes: tuple[str, ...], answered: NDArray | None = None
    ) -> tuple[NDArray, int]:
        """Per-item outcomes of `scores` [n, C] without a record: which items are right, [n] bool, and how many ties."""
        best, ties = first_argmax(scores)
        predicted = np.array(classes, dtype=object)[best]
        if answered is not None:
            ties = first_argmax(scores[answered])[1] if answered.any() else 0
            predicted[~answered] = NO_ANSWER
        hits = predicted == self.true
        columns = {
            "dataset": self.dataset,
            "protocol": protocol,
            "item": self.items.astype(str),
            "cluster": self.clusters.astype(str),
            "true": self.true,
            "predicted": predicted,
            "score": scores[np.arange(len(scores)), best],
            "correct": hits,
        }
        self._frames.append(pd.DataFrame(columns))
        return hits, ties

    def add(self, metric: str, hits: NDArray | None, chance: float | None, context: dict[str, Any]) -> None:
        """A further number over the items: the mean of `hits` [n]; none, where it has no meaning."""
        value = None if hits is None else float(hits.mean())
        interval = (None, None) if hits is None else bootstrap_interval(hits, self.clusters)
        self._record(metric, value, interval, chance, context)

    def difference(self, metric: str, hits: NDArray, others: NDArray, context: dict[str, Any]) -> None:
        """Accuracy of `hits` minus that of `others`, both [n] bool over the same items, with its paired interval."""
        value = float(hits.mean() - others.mean())
        self._record(metric, value, paired_interval(hits, others, self.clusters), 0.0, context)

    def ratio(self, metric: str, hits: NDArray, reference: NDArray, context: dict[str, Any]) -> None:
        """Accuracy of `hits` over that of `reference`, both [n] bool; no value where the reference has none right."""
        value = float(hits.mean() / reference.mean()) if reference.any() else None
        self._record(metric, value, ratio_interval(hits, reference, self.clusters), None, context)

    def majority(self, metric: str, classes: int, context: dict[str, Any]) -> None:
        """Accuracy of always answering the most frequent true class."""
        share, label = majority(self.true)
        interval = bootstrap_interval(self.true == label, self.clusters)
        self._record(metric, share, interval, 1 / classes, context | {"label": label})

    def predictions(self) -> pd.DataFrame:
        """Every outcome scored so far, one row per item and protocol."""
        return pd.concat(self._frames, ignore_index=True)

    def _record(
        self,
        metric: str,
        value: float | None,
        interval: tuple[float | None, float | None],
        chance: float | None,
        context: dict[str, Any],
    ) -> None:
        low, high = interval
        self.records.append(Record(self.dataset, metric, value, low, high, len(self.true), chance, context))
