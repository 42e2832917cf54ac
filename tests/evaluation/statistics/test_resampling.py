"""The engine of the intervals: against every resample there is, Student, and how often the truth is held."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from xmodal.evaluation.statistics.metrics import bootstrap_interval, paired_interval
from xmodal.evaluation.statistics.resampling import cluster_numbers, per_cluster, resampled


def test_limits_are_percentiles_further_out_than_plain_ones():
    """Six clusters, all 6^6 resamples. sqrt(6/5) t(0.975, 5) = 2.8159; 0.00243 of the normal lie beyond it (tables)."""
    values = np.array([0.1, 0.25, 0.4, 0.55, 0.7, 0.95])
    means = np.array([values[list(drawn)].mean() for drawn in itertools.product(range(6), repeat=6)])
    low, high = bootstrap_interval(values, samples=40000)
    assert np.quantile(means, 0.0015) <= low <= np.quantile(means, 0.0034) < np.quantile(means, 0.025)
    assert np.quantile(means, 1 - 0.025) < np.quantile(means, 1 - 0.0034) <= high <= np.quantile(means, 1 - 0.0015)


def test_few_clusters_have_students_interval():
    values = np.array([0.42, 0.5, 0.61, 0.47])
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert bootstrap_interval(values, samples=40000) == pytest.approx(expected, abs=0.003)
    # two clusters of unequal size: means 1, 2/3, 2/3, 1/2 of the four resamples, by hand
    reach = math.sqrt(2) * 12.7062 * np.std([1, 2 / 3, 2 / 3, 1 / 2])
    found = bootstrap_interval([1, 1, 0], ["x", "y", "y"], samples=40000, bounds=(-9, 9))
    assert found == pytest.approx((2 / 3 - reach, 2 / 3 + reach), abs=0.05)
    assert bootstrap_interval([1, 1, 0], ["x", "y", "y"]) == (0, 1)  # cut at what a share can be


def test_with_many_clusters_they_are_the_plain_percentiles():
    values = np.random.default_rng(0).random(3000)
    expected = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert bootstrap_interval(values, samples=20000) == pytest.approx(expected, abs=3e-4)


@pytest.mark.parametrize("groups", [2, 3, 4, 5, 6, 8, 10, 20])
def test_the_truth_is_held_as_often_as_said(groups):
    """600 draws of clusters whose accuracies differ (mean 2/3): plain percentiles hold it in 50% to 92% of them."""
    rng = np.random.default_rng(groups)
    held = {"accuracy": 0, "difference": 0}
    for seed in range(600):
        clusters = np.repeat(np.arange(groups), rng.integers(20, 60, groups))
        chance = rng.beta(4, 2, groups)
        a, b = (rng.random(len(clusters)) < p[clusters] for p in (chance, rng.beta(4, 2, groups)))
        low, high = bootstrap_interval(a, clusters, 500, seed)
        held["accuracy"] += low <= 2 / 3 <= high
        low, high = paired_interval(a, b, clusters, 500, seed)
        held["difference"] += low <= 0 <= high
    assert min(held.values()) >= 0.9 * 600
    assert max(held.values()) <= 0.985 * 600


def test_whole_numbers_are_ones_that_occur():
    def largest(times):
        return np.where(times > 0, np.arange(1, 9), 0).max(axis=1)[:, None]

    [low], [high] = resampled(largest, np.array([8.0]), 8, samples=40000, whole=True)
    # all eight draws are at most 4 in 0.0039 of resamples, at most 5 in 0.0233; the limit is at 0.0057
    assert (low, high) == (5, 8)
    assert all(np.isnan(resampled(lambda t: t[:, :1], np.ones(1), 5, whole=True)).ravel())


def test_clusters_are_numbered_as_they_appear():
    assert cluster_numbers(None, 3).tolist() == [0, 1, 2]
    assert cluster_numbers(["b", "a", "b"], 3).tolist() == [0, 1, 0]
    assert cluster_numbers(np.array([3.0, 3.0, 1.0]), 3).tolist() == [0, 0, 1]
    sums, counts = per_cluster(["b", "a", "b"], np.array([[1.0, 0], [2, 1], [4, 1]]))
    assert sums.tolist() == [[5, 1], [2, 1]]
    assert counts.tolist() == [2, 1]


@pytest.mark.parametrize("clusters", [["a", None, "b"], [1.0, math.nan, 2.0]])
def test_a_null_is_no_cluster(clusters):
    with pytest.raises(ValueError, match="1 of 3 items have a null for a cluster"):
        bootstrap_interval([1, 0, 1], clusters)
    with pytest.raises(ValueError, match="3 items but 2 clusters"):
        bootstrap_interval([1, 0, 1], ["a", "b"])
