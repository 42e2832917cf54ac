"""AUROC, FPR at 95% TPR and thresholds, against scikit-learn and against trying every threshold."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from xmodal.evaluation.statistics.detection import Detection, best_threshold


def drawn(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and who is wanted."""
    rng = np.random.default_rng(seed)
    wanted = rng.random(n) < 0.6
    return np.round(rng.standard_normal(n) + wanted, 1), wanted


def fpr_by_sklearn(scores: np.ndarray, wanted: np.ndarray, weights: np.ndarray | None = None) -> float:
    false, true, _ = roc_curve(wanted, scores, sample_weight=weights, drop_intermediate=False)
    return float(false[np.flatnonzero(true >= 0.95 - 1e-12)[0]])


@pytest.mark.parametrize("seed", range(5))
def test_as_scikit_learn(seed: int) -> None:
    scores, wanted = drawn(seed)
    found = Detection(scores, wanted)
    assert found.auroc == roc_auc_score(wanted, scores)
    assert found.fpr_at_95_tpr == pytest.approx(fpr_by_sklearn(scores, wanted))
    true, false = found.rates()
    theirs = roc_curve(wanted, scores, drop_intermediate=False)
    np.testing.assert_allclose(np.stack([false, true, found.thresholds]), np.stack(theirs)[:, 1:])


def test_what_resamples_are_measured_by() -> None:
    """A resample is a weighting of the items: weights of whole clusters, some of them 0."""
    scores, wanted = drawn(7)
    clusters = np.arange(60) // 5
    found = Detection(scores, wanted, clusters)
    times = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=20).astype(float)
    ours = found._statistics(times[:, found.cluster])
    for row, each in zip(ours, times, strict=True):
        weights = each[clusters]
        assert row[0] == pytest.approx(roc_auc_score(wanted, scores, sample_weight=weights))
        assert row[1] == pytest.approx(fpr_by_sklearn(scores, wanted, weights))
    only = np.zeros((1, 60))
    only[0, :3] = found.wanted[:3]
    assert np.isnan(found._statistics(only)).all()  # a resample without one of the kinds says nothing


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """120 tests of 60 items: normal scores one standard deviation apart have an AUROC of Phi(1 / sqrt 2) = 0.760."""
    held = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        wanted = np.arange(60) % 2 == 0
        (low, high), _ = Detection(rng.standard_normal(60) + wanted, wanted).intervals(samples=400)
        held += low <= 0.7602 <= high
    assert 0.90 * 120 <= held <= 0.99 * 120


def test_clusters_widen_and_perfect_separation_is_no_certainty() -> None:
    scores, wanted = drawn(3, 200)
    alone = Detection(scores, wanted).intervals()[0]
    pairs = np.concatenate([scores, scores]), np.concatenate([wanted, wanted])
    doubled = Detection(*pairs, np.tile(np.arange(200), 2)).intervals()[0]
    np.testing.assert_allclose(doubled, alone, atol=0.01)  # every item twice says no more than once
    (low, high), (low95, high95) = Detection([3, 2, 2, 1, 0, 0, -1], [1, 1, 1, 1, 0, 0, 0]).intervals()
    seen = 0.025 ** (2 / 7)
    assert (low, high) == (pytest.approx(seen), 1)
    assert (low95, high95) == (0, pytest.approx(1 - seen))
    one = Detection([1, 0], [True, False], ["a", "a"]).intervals()
    assert all(math.isnan(limit) for interval in one for limit in interval)


@pytest.mark.parametrize("wanted", [[True, True], [False, False]])
def test_both_kinds_are_needed(wanted: list[bool]) -> None:
    with pytest.raises(ValueError, match="expected both kinds"):
        Detection([1, 2], wanted)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_threshold_is_the_best_of_all(seed: int) -> None:
    scores, wanted = drawn(seed)
    right = np.random.default_rng(seed + 100).random(60) < 0.7
    found = best_threshold(scores, wanted, right)

    def value(threshold: float) -> float:
        accepted = scores >= threshold
        return float((accepted & right)[wanted].mean() + (~accepted)[~wanted].mean())

    every = [*np.unique(scores), np.inf]
    best = max(value(each) for each in every)
    assert value(found) == pytest.approx(best)
    assert not any(value(each) > best - 1e-9 for each in every if each < found - 0.1)  # the lowest of equal ones
    for share in (0.0, 0.1, 0.5, 1.0):
        limit = best_threshold(scores, wanted, right, most_accepted=share)
        assert (scores >= limit)[~wanted].mean() <= share
        lower = [each for each in every if each < limit and not math.isclose(each, limit)]
        below = [each for each in lower if (scores >= each).sum() > (scores >= limit).sum()]
        assert all((scores >= each)[~wanted].mean() > share for each in below)


def test_a_threshold_lies_between_scores() -> None:
    everything = np.ones(4, dtype=bool)
    assert best_threshold([0.9, 0.7, 0.3, 0.1], [1, 1, 0, 0], everything) == pytest.approx(0.5)
    nothing = best_threshold([0.9, 0.5], [False, True], np.zeros(2, dtype=bool))
    assert nothing > 0.9  # what is wanted is answered wrongly anyway
