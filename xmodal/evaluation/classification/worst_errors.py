"""The errors a classifier was surest of, to look at or to listen to. Input: predictions, and where the items are.

Output: `Example`s for the report. Only what the test itself holds is read.
"""

import pandas as pd

from xmodal.evaluation.shown import shown
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.report.examples import Example
from xmodal.report.report import Report

SHOWN = {"image": 18, "audio": 12}  # of each data set
SIDE = 160  # pixels of a picture's longer side


def show_worst_errors(
    report: Report, name: str, predictions: pd.DataFrame, test: LabelledItems, said: str | None = None
) -> None:
    """Add the wrong answers with the highest scores to a report, the surest first; none where all are right.

    Args:
        report: gets them under "NAME: the most confident errors".
        name: of the data set.
        predictions: a row per item: columns item, true, predicted, score, correct.
        test: the items, pictures or recordings; of texts nothing is shown.
        said: column of the test with what is said in each.

    Example:
        show_worst_errors(report, "digits", report.predictions, test)
    """
    places = {str(item): place for place, item in enumerate(test.names)}
    words = test.further.get(said or "")
    wrong = predictions[~predictions["correct"].astype(bool)].sort_values("score", ascending=False, kind="stable")
    found, lost = [], 0
    for error in wrong[: SHOWN.get(test.kind, 0)].to_dict("records"):
        place = places[str(error["item"])]
        there = shown(test.kind, test.sources[place], SIDE)
        if there is None:  # it was there when it was embedded
            lost += 1
            continue
        text = "" if words is None or words[place] is None else str(words[place])
        item, true, predicted = (str(error[column]) for column in ("item", "true", "predicted"))
        found.append(Example(item, true, predicted, float(error["score"]), there.data, there.suffix, text, there.cut))
    if lost:
        report.notes.append(f"{name}: {lost} of the surest errors cannot be read any more, and are not shown.")
    if found:
        report.examples[f"{name}: the most confident errors"] = found
