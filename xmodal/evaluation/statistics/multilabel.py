"""Zero-shot scores where an item has several labels. Input: scores [n, C] and truth. Output: a `Report`.

mean_average_precision: per class, the mean precision at the places of its items, items ranked by score; averaged over
classes (as CLIP_benchmark has it). precision@1: the share of items whose
best class is one of their labels. Axes: n items, C classes.
"""

import numpy as np
import pandas as pd

from xmodal.evaluation.statistics.metrics import bootstrap_interval, first_argmax
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.report.record import Record
from xmodal.report.report import Report


def multilabel_report(
    name: str, test: LabelledItems, scores: np.ndarray, labels: tuple[str, ...], context: dict[str, object]
) -> Report:
    """Both metrics, every item's outcome, and a table of the classes.

    Args:
        name: of the data set.
        test: n items, `several` given.
        scores: [n, C].
        labels: [C].
        context: of the records.
    """
    assert test.several is not None
    truth = np.array([[label in found for label in labels] for found in map(set, test.several)])
    values = np.array([average_precision(scores[:, c], truth[:, c]) for c in range(len(labels))])
    low, high = bootstrap_interval(values)  # over classes: that is what is averaged
    chance = float(np.mean([random_average_precision(len(test), int(p)) for p in truth.sum(axis=0)]))
    mean = Record(
        name, "mean_average_precision", values.mean(), low, high, len(test), chance, {**context, "clusters": "classes"}
    )
    best, ties = first_argmax(scores)
    hits = truth[np.arange(len(test)), best]
    low, high = bootstrap_interval(hits, test.clusters)
    first = Record(
        name, "precision@1", hits.mean(), low, high, len(test), float(truth.mean()), {**context, "ties": ties}
    )
    rows = {
        "dataset": name,
        "protocol": "precision@1",
        "item": test.names.astype(str),
        "cluster": test.clusters.astype(str),
        "true": ["; ".join(sorted(found)) for found in test.several],
        "predicted": np.array(labels, dtype=object)[best],
        "score": scores[np.arange(len(test)), best],
        "correct": hits,
    }
    table = pd.DataFrame({"label": labels, "n": truth.sum(axis=0), "average precision": values})
    return Report([mean, first], predictions=pd.DataFrame(rows), tables={f"{name}: per class": table})


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the positives of the precision at their place, best score first; 0 without positives.

    Of equal scores the earlier item stands first, as everywhere here and in CLIP_benchmark. Scikit-learn's
    `average_precision_score` gives items of one score one place, the last of them, and so another number on ties:
    ten equal scores with a positive in front are 1 here, and 0.1 there. Without ties both are the same.

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
