"""Scores written down: by hand."""

import numpy as np
import pytest

from xmodal.evaluation.classification.score_sheet import ScoreSheet

TRUE = np.array(["a", "b", "b"], dtype=object)
SCORES = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])


def sheet() -> ScoreSheet:
    return ScoreSheet("devel", np.array(["x", "y", "z"]), TRUE, np.array(["s", "s", "t"]))


def test_a_score_is_a_record_and_a_row_per_item() -> None:
    mine = sheet()
    assert mine.score("acc", SCORES, ("a", "b"), {"templates": 5}).tolist() == [True, False, True]  # a tie: the first
    [record] = mine.records
    assert (record.value, record.chance, record.n) == (pytest.approx(2 / 3), 0.5, 3)
    assert record.context == {"templates": 5, "ties": 1}
    rows = mine.predictions()
    assert rows["predicted"].tolist() == ["a", "a", "b"]
    assert rows["score"].tolist() == [0.9, 0.5, 0.8]
    assert rows["cluster"].tolist() == ["s", "s", "t"]


def test_answers_alone_make_no_record() -> None:
    mine = sheet()
    hits, ties = mine.answer("draw", SCORES, ("a", "b"))
    assert (hits.tolist(), ties, mine.records) == ([True, False, True], 1, [])
    assert mine.predictions()["protocol"].tolist() == ["draw"] * 3
