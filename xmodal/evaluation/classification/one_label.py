"""Scores of items that have one label each. Input: scores [n, C] and truth. Output: a `Report`.

Axes: n items, C classes.
"""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from xmodal.evaluation.classification.score_sheet import ScoreSheet
from xmodal.evaluation.classification.zero_shot import TOP
from xmodal.evaluation.statistics.metrics import bootstrap_interval, places_of
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.report.report import Record, Report

PAIRS = 20  # most confused ones, in a table


def one_label_report(
    name: str, test: LabelledItems, scores: np.ndarray, labels: tuple[str, ...], context: dict[str, Any]
) -> Report:
    """acc1, acc5, mean_per_class_recall and the majority class, with every item's outcome.

    Args:
        name: of the data set.
        test: n items.
        scores: [n, C].
        labels: [C].
        context: of the records.
    """
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


def confused_pairs(true: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """The pairs of classes most often confused: true, predicted, how many items, their share of the true class."""
    totals = Counter(true)
    pairs = Counter((t, p) for t, p in zip(true, predicted, strict=True) if t != p)
    rows = [(t, p, n, n / totals[t]) for (t, p), n in pairs.items()]
    rows.sort(key=lambda row: (-row[2], -row[3], str(row[0]), str(row[1])))
    return pd.DataFrame(rows[:PAIRS], columns=["true", "predicted", "n", "share"])
