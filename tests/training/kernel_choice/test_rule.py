"""The rule of the choice on hand-made outcomes, and outcomes out of hand-made reports."""

import math

import numpy as np
import pandas as pd
import pytest

from xmodal.errors import UserError
from xmodal.evaluation.statistics.metrics import paired_interval
from xmodal.report import Report
from xmodal.training.kernel_choice.outcomes import outcomes_of, side_by_side
from xmodal.training.kernel_choice.rule import Compared, compared, winner

BASE = np.arange(100) % 2 == 0  # 50 right
BETTER = BASE | (np.arange(100) % 10 == 1)  # 10 more
BEST = BASE | (np.arange(100) % 5 == 1)  # 10 more, others
MORE = BASE | (np.arange(100) % 10 < 4)  # 20 more
OTHER = np.roll(BASE, 1)  # 50 right, none of the same


def test_differences_and_intervals_are_paired():
    clusters = np.arange(100) // 2
    found = compared({"one_hot": BASE, "more": MORE, "other": OTHER}, clusters, "one_hot")
    assert found.keys() == {"more", "other"}
    assert found["more"][:2] == pytest.approx((0.7, 0.2))
    assert found["more"][2:] == paired_interval(MORE, BASE, clusters)
    assert found["other"].difference == 0


@pytest.mark.parametrize(
    ("candidates", "name"),
    [
        ({"better": BETTER, "more": MORE}, "more"),
        ({"other": OTHER, "better": BETTER}, "better"),
        ({"better": BETTER, "best": BEST}, "better"),  # of equal ones the first
        ({"other": OTHER}, "one_hot"),
        ({"worse": BASE & (np.arange(100) > 50), "one more": BASE | (np.arange(100) == 1)}, "one_hot"),
        ({}, "one_hot"),
    ],
)
def test_the_winner(candidates, name):
    found, why = winner(compared({"one_hot": BASE, **candidates}, np.arange(100), "one_hot"), "one_hot")
    assert found == name
    if name != "one_hot":
        assert why.endswith(" over one_hot")
    elif candidates:
        assert why.startswith(
            f"nothing beats it by its interval; the best, {max(candidates, key=lambda n: candidates[n].sum())}: "
        )


def test_no_interval_wins_nothing():
    few = Compared(0.9, 0.5, math.nan, math.nan)
    assert winner({"few": few}, "one_hot")[0] == "one_hot"


def report(correct, items=None, protocols=("a", "oracle")):
    rows = [
        {
            "dataset": "dev", "protocol": protocol, "item": item, "cluster": f"c{at // 2}", "true": "x",
            "predicted": "y", "score": 0.0, "correct": bool(right) if protocol == "a" else at % 2 == 0,
        }
        for protocol in protocols
        for at, (item, right) in enumerate(zip(items or [f"i{n}" for n in range(len(correct))], correct, strict=True))
    ]  # fmt: skip
    return Report(predictions=pd.DataFrame(rows))


def test_outcomes_of_a_metric_or_of_all_that_tell_runs_apart():
    one, two = report([1, 0, 0, 1]), report([1, 1, 0, 1])
    frames = {name: outcomes_of(each, "dev") for name, each in {"one_hot": one, "affine": two}.items()}
    together, clusters, protocols = side_by_side(frames)
    assert protocols == ["a"]
    assert together["one_hot"].tolist() == [1, 0, 0, 1]
    assert together["affine"].tolist() == [1, 1, 0, 1]
    assert list(clusters) == ["c0", "c0", "c1", "c1"]
    alike, _, shown = side_by_side({"one_hot": frames["one_hot"], "affine": frames["one_hot"]})
    assert shown == ["a", "oracle"]
    assert len(alike["affine"]) == 8
    assert side_by_side({name: outcomes_of(one, "dev/oracle") for name in ("x", "y")})[2] == ["oracle"]


def test_other_items_are_refused():
    frames = {"one_hot": outcomes_of(report([1, 0]), "dev"), "affine": outcomes_of(report([1, 0], ["i0", "i9"]), "dev")}
    with pytest.raises(UserError, match=r"the run with affine was judged on other items than the first"):
        side_by_side(frames)
    with pytest.raises(UserError, match=r"kernel\.dev: 'dev/b' has no outcome by item .* one of dev/a, dev/oracle"):
        outcomes_of(report([1, 0]), "dev/b")
    with pytest.raises(UserError, match=r"kernel\.dev: 'held' has no outcome"):
        outcomes_of(report([1, 0]), "held")
