"""Metrics against scipy.stats, scikit-learn, closed forms and plain loops."""

import math

import numpy as np
import pytest
from scipy import stats

from xmodal.evaluation.statistics.metrics import (
    accuracy,
    bootstrap_interval,
    bootstrap_intervals,
    first_argmax,
    majority,
    paired_interval,
    per_class_table,
    ratio_interval,
)


@pytest.fixture
def clustered():
    """300 items in 60 clusters of 1 to 9, hard and easy clusters, two runs that agree more often than not."""
    rng = np.random.default_rng(4)
    clusters = np.sort(rng.integers(0, 60, 300))
    ease = rng.random(60)[clusters]
    a = rng.random(300) < ease
    b = np.where(rng.random(300) < 0.7, a, rng.random(300) < ease - 0.1)
    return a, b.astype(bool), clusters


def _totals(values, clusters):
    names = sorted(set(clusters))
    return (
        np.array([sum(v for v, c in zip(values, clusters, strict=True) if c == k) for k in names], float),
        np.array([sum(c == k for c in clusters) for k in names], float),
    )


def _scipy(statistic, *columns):
    """Its percentile bootstrap at the level that Hesterberg's expansion asks for."""
    n = len(columns[0])
    level = 1 - 2 * stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    found = stats.bootstrap(
        columns, statistic, confidence_level=level, paired=True, vectorized=True, n_resamples=20000,
        method="percentile", rng=1,
    ).confidence_interval  # fmt: skip
    return found.low, found.high


def test_accuracy():
    assert accuracy([True, False, True, True]) == 0.75
    assert math.isnan(accuracy([]))


def test_interval_of_single_items_is_scipys():
    correct = np.random.default_rng(0).random(200) < 0.7
    expected = _scipy(lambda x, axis: x.mean(axis), correct.astype(float))
    assert bootstrap_interval(correct, samples=20000) == pytest.approx(expected, abs=0.006)


def test_clustered_interval_is_scipys_ratio_of_sums(clustered):
    a, _, clusters = clustered
    expected = _scipy(lambda s, c, axis: s.sum(axis) / c.sum(axis), *_totals(a, clusters))
    found = bootstrap_interval(a, clusters, samples=20000)
    assert found == pytest.approx(expected, abs=0.006)
    alone = bootstrap_interval(a, samples=20000)
    assert found[1] - found[0] > 1.3 * (alone[1] - alone[0])  # clustering costs certainty


def test_paired_interval_is_scipys(clustered):
    a, b, clusters = clustered
    sums_a, counts = _totals(a, clusters)
    sums_b, _ = _totals(b, clusters)
    expected = _scipy(lambda x, y, c, axis: (x.sum(axis) - y.sum(axis)) / c.sum(axis), sums_a, sums_b, counts)
    found = paired_interval(a, b, clusters, samples=20000)
    assert found == pytest.approx(expected, abs=0.006)
    assert paired_interval(b, a, clusters, samples=20000) == pytest.approx((-found[1], -found[0]))


def test_ratio_interval_is_scipys(clustered):
    a, b, clusters = clustered
    expected = _scipy(lambda x, y, axis: x.sum(axis) / y.sum(axis), _totals(a, clusters)[0], _totals(b, clusters)[0])
    assert ratio_interval(a, b, clusters, samples=20000) == pytest.approx(expected, abs=0.012)


def test_order_and_names_of_clusters_do_not_matter_beyond_the_draw(clustered):
    a, _, clusters = clustered
    names = np.array([f"sentence {c}" for c in clusters], dtype=object)
    assert bootstrap_interval(a, names) == bootstrap_interval(a, clusters)
    assert bootstrap_interval(a, clusters, seed=0) != bootstrap_interval(a, clusters, seed=1)


def test_many_clusters_are_drawn_in_blocks():
    """More clusters than one block holds: the interval still matches the normal approximation."""
    correct = np.random.default_rng(0).random(30000) < 0.6
    half = 1.96 * math.sqrt(0.6 * 0.4 / 30000)
    low, high = bootstrap_interval(correct, samples=400)
    assert (low, high) == pytest.approx((correct.mean() - half, correct.mean() + half), abs=0.0015)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_all_right_is_not_certainty(n):
    exact = stats.binomtest(n, n).proportion_ci(0.95, method="exact")
    assert bootstrap_interval(np.ones(n)) == pytest.approx((exact.low, 1.0))
    assert bootstrap_interval(np.zeros(n)) == pytest.approx((0.0, 1 - exact.low))
    twice = np.repeat(np.arange(n), 2)  # two items per cluster are no more evidence than one
    assert bootstrap_interval(np.ones(2 * n), twice) == pytest.approx((exact.low, 1.0))


def test_one_cluster_or_none_has_no_interval():
    for found in (
        bootstrap_interval([1, 0, 1], ["s", "s", "s"]),
        bootstrap_interval([]),
        paired_interval([1, 0], [0, 0], [3, 3]),
        ratio_interval([1, 0], [1, 0], [3, 3]),
        ratio_interval([1, 0], [0, 0]),
    ):
        assert all(math.isnan(v) for v in found)


def test_runs_that_differ_alike_on_every_item_are_not_certain_to():
    """Clopper and Pearson's bound e: of items not seen up to 1 - e may go the other way."""
    e = stats.binomtest(8, 8).proportion_ci(0.95, method="exact").low
    hits = np.array([1, 0, 1, 1, 0, 0, 1, 0])
    assert paired_interval(hits, hits) == pytest.approx((-(1 - e), 1 - e))
    assert paired_interval(np.ones(8), np.zeros(8)) == pytest.approx((2 * e - 1, 1))
    assert paired_interval(np.zeros(8), np.ones(8)) == pytest.approx((-1, 1 - 2 * e))
    assert paired_interval([1, 1], [0, 0]) == pytest.approx((2 * math.sqrt(0.025) - 1, 1))  # two items exclude nothing
    twice = np.repeat(np.arange(8), 2)
    assert paired_interval(np.ones(16), np.zeros(16), twice) == pytest.approx((2 * e - 1, 1))


def test_ratios_that_are_alike_in_every_cluster():
    """In the share 1 - e not seen one of the two may be all right and the other all wrong."""
    e = 0.025 ** (1 / 3)
    assert ratio_interval([1] * 3, [1] * 3) == pytest.approx((e / (e + 1 - e), (e + 1 - e) / e))
    assert ratio_interval([0] * 3, [1, 1, 0]) == pytest.approx((0, (1 - e) / (e * 2 / 3)))
    e = 0.025 ** (1 / 4)  # half right in both, and everywhere the same items
    low, high = ratio_interval([1, 0, 1, 0], [1, 0, 1, 0])
    assert (low, high) == pytest.approx((0.5 * e / (0.5 * e + 1 - e), (0.5 * e + 1 - e) / (0.5 * e)))


def test_what_is_no_share_has_its_own_bounds():
    e = 0.025 ** (1 / 10)
    assert bootstrap_interval(np.ones(10), bounds=(1, 5)) == pytest.approx((1, e + 5 * (1 - e)))
    assert bootstrap_interval(np.full(10, 2.0), bounds=(0, 4)) == pytest.approx((2 * e, 2 * e + 4 * (1 - e)))
    assert all(
        math.isnan(v) for v in bootstrap_interval(np.ones(10), bounds=None)
    )  # nothing says how far 1 is from far
    values = np.random.default_rng(0).normal(7, 1, 40)
    low, high = bootstrap_interval(values, bounds=None)
    assert 6 < low < values.mean() < high < 8
    with pytest.raises(ValueError, match=r"a mean of 2.0 is outside the bounds \(0.0, 1.0\)"):
        bootstrap_interval([1, 3, 2])


def test_clusters_alike_though_not_items():
    """Every cluster is half right: no resample differs, and still two clusters say little."""
    e = math.sqrt(0.025)
    assert bootstrap_interval([1, 0, 0, 1], ["a", "a", "b", "b"]) == pytest.approx((e / 2, e / 2 + 1 - e))
    thirds = [0.1, 0.1, 0.1, 0.3, 0.0, 0.0]  # sums that differ in the last bit are alike too
    assert bootstrap_interval(thirds, ["a"] * 3 + ["b"] * 3) == pytest.approx((0.1 * e, 0.1 * e + 1 - e))


def test_columns_share_their_resamples():
    rng = np.random.default_rng(3)
    hits = (rng.random((40, 5)) < 0.6).astype(float)
    hits[:, 1], hits[:, 2] = 1, 0
    sentences = np.array([f"sentence {i // 3}" for i in range(40)], dtype=object)
    for clusters in (None, sentences):
        found = bootstrap_intervals(hits, clusters, samples=20000)
        e = 0.025 ** (1 / len(set(range(40) if clusters is None else clusters)))
        assert found[1] == pytest.approx((e, 1))
        assert found[2] == pytest.approx((0, 1 - e))
        for column in (0, 3, 4):
            totals = _totals(hits[:, column], range(40) if clusters is None else clusters)
            expected = _scipy(lambda s, c, axis: s.sum(axis) / c.sum(axis), *totals)
            assert found[column] == pytest.approx(expected, abs=0.026)  # one item of 40
    assert np.isnan(bootstrap_intervals(hits, np.zeros(40))).all()


def test_interval_covers_as_often_as_it_says():
    """Over 200 draws of 80 clusters of four dependent items, about 95 in 100 intervals hold the true 0.6."""
    rng = np.random.default_rng(7)
    clusters = np.repeat(np.arange(80), 4)
    held = 0
    for _ in range(200):
        chance = rng.choice([0.3, 0.9], size=80)[clusters]
        low, high = bootstrap_interval(rng.random(320) < chance, clusters, samples=400)
        held += low <= 0.6 <= high
    assert 180 <= held <= 198


def test_wrong_number_of_clusters():
    with pytest.raises(ValueError, match="3 items but 2 clusters"):
        bootstrap_interval([1, 0, 1], ["a", "b"])


def test_majority():
    assert majority(["b", "a", "b", "c"]) == (0.5, "b")
    assert majority(np.array(["b", "a"], dtype=object)) == (0.5, "a")
    with pytest.raises(ValueError, match="no labels"):
        majority([])


def test_first_argmax_counts_ties():
    best, ties = first_argmax([[1, 3, 3], [2, 1, 0], [5, 5, 5]])
    assert best.tolist() == [1, 0, 0]
    assert ties == 2
    with pytest.raises(ValueError, match="1 of 2 rows"):
        first_argmax([[0.0, math.nan], [0.0, 1.0]])


def test_per_class_table():
    true = ["a"] * 4 + ["b"] * 2
    predicted = ["a", "a", "b", "b", "b", "b"]
    table = per_class_table(true, predicted, clusters=[0, 0, 1, 1, 2, 3])
    assert table["label"].tolist() == ["a", "b"]
    assert table["n"].tolist() == [4, 2]
    assert table["recall"].tolist() == [0.5, 1.0]
    assert table["low"].tolist() == pytest.approx([0.0, math.sqrt(0.025)])
    assert table["high"].tolist() == [1.0, 1.0]
