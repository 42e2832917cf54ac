"""Two levels of chance: against variances worked out by hand, against simulations with a known truth."""

import numpy as np
import pytest
from scipy import stats

from xmodal.evaluation.statistics.drawn_interval import drawn_interval
from xmodal.evaluation.statistics.metrics import bootstrap_interval
from xmodal.training.comparison.verdict import gap, verdict


def test_an_interval_over_seeds_and_items_by_hand() -> None:
    """Three seeds, few degrees of freedom: Student's over the bootstrap's standard deviation, which has a closed form.

    Seeds and items are drawn independently, so the variance of the mean of d_si, with means over the data, is
    v_s / S + v_i / m + v / (S m), v_s and v_i those of the means of seeds and items and v that of what is left.
    """
    rng = np.random.default_rng(0)
    d = (
        0.1
        + 0.6 * rng.standard_normal((3, 1))
        + 0.3 * rng.standard_normal((1, 40))
        + 0.2 * rng.standard_normal((3, 40))
    )
    by_seed, by_item = d.mean(1), d.mean(0)
    rest = d - by_seed[:, None] - by_item[None] + d.mean()
    spread = np.sqrt(by_seed.var() / 3 + by_item.var() / 40 + rest.var() / 120)
    seeds, items = by_seed.var(ddof=1) / 3, by_item.var(ddof=1) / 40
    freedom = (seeds + items) ** 2 / (seeds**2 / 2 + items**2 / 39)
    assert freedom < 5
    for tail in (0.025, 0.025 / 6):
        reach = np.sqrt((1 + freedom) / freedom) * stats.t.ppf(1 - tail, freedom)
        expected = d.mean() - reach * spread, d.mean() + reach * spread
        assert drawn_interval(d, samples=40000, bounds=(-9, 9), tail=tail) == pytest.approx(expected, rel=0.02)
    assert drawn_interval(d, samples=2000, bounds=(-0.1, 0.15)) == (-0.1, 0.15)


def test_a_tail_further_out_than_the_resamples_reach() -> None:
    """Student's, where no percentile of 2,000 resamples exists; the percentiles, where one does."""
    values = np.random.default_rng(1).standard_normal(400)
    error = values.std() / 20
    for tail in (0.025, 0.025 / 3, 0.025 / 91):
        low, high = bootstrap_interval(values, bounds=(-9, 9), tail=tail)
        reach = stats.t.ppf(1 - tail, 399) * np.sqrt(400 / 399) * error
        assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.25 * error)


def test_differences_in_no_mean() -> None:
    """Every seed and every item is right as often for both: nothing is known of the spread; the exact bound."""
    edge = 0.025**0.5
    assert drawn_interval([[1, -1], [-1, 1]], bounds=(-1, 1)) == pytest.approx((edge - 1, 1 - edge))


def outcomes(rng: np.random.Generator, better: float, seeds: int = 3, items: int = 150) -> dict[str, np.ndarray]:
    """Three objectives whose items share a difficulty, and whose seeds differ; `better` is added to the third's."""
    hard = rng.standard_normal(items)
    found = {}
    for name, more in (("infonce", 0.0), ("siglip", 0.0), ("cwcl", better)):
        logits = 0.4 + more + hard + 0.15 * rng.standard_normal((seeds, 1))
        found[name] = (rng.random((seeds, items)) < 1 / (1 + np.exp(-logits))).astype(float)
    return found


def test_objectives_that_are_alike_have_no_winner() -> None:
    """In 120 draws a winner among three equals is named in at most 5%, though the leader is who happens to lead."""
    rng = np.random.default_rng(0)
    named = sum(verdict(outcomes(rng, 0.0)).winner is not None for _ in range(120))
    two = sum(
        verdict({k: v for k, v in outcomes(rng, 0.0).items() if k != "cwcl"}).winner is not None for _ in range(120)
    )
    assert named <= 0.05 * 120
    assert two <= 0.06 * 120


def test_a_better_one_is_named() -> None:
    rng = np.random.default_rng(0)
    found = [verdict(outcomes(rng, 1.6, items=400)).winner for _ in range(40)]
    assert found.count("cwcl") >= 36
    assert set(found) <= {"cwcl", None}


def test_sentences() -> None:
    rng = np.random.default_rng(3)
    sure = verdict(outcomes(rng, 2.5, items=600))
    assert sure.winner == "cwcl"
    near = sure.gaps[0]
    assert sure.sentence("test/acc1") == (
        f"test/acc1: cwcl leads {near.second} by {near.value:.3f} [{near.low:.3f}, {near.high:.3f}], and every other "
        "by at least as much; intervals of 95%, corrected for 3 comparisons (Bonferroni)."
    )
    unsure = verdict(outcomes(rng, 0.0))
    assert unsure.winner is None
    assert unsure.sentence("test/acc1").startswith(f"test/acc1: no winner: {unsure.gaps[0].first} is ahead of ")
    assert "which holds 0; not told apart from " in unsure.sentence("test/acc1")
    alone = verdict({"infonce": np.ones((2, 5))})
    assert (alone.winner, alone.sentence("t")) == (None, "t: one objective, nothing to compare.")


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_cluster_gives_no_interval(seeds: int) -> None:
    hits = {"infonce": np.zeros((seeds, 4)), "cwcl": np.ones((seeds, 4)), "siglip": np.zeros((seeds, 4))}
    hits["cwcl"][0, 0] = 0
    found = verdict(hits, clusters=["one"] * 4)
    value = f"{hits['cwcl'].mean():.3f}"
    assert found.winner is None
    assert not any(each.has_interval or each.excludes_0 for each in found.gaps)
    assert found.sentence("t") == (
        f"t: no winner: cwcl is ahead of infonce by {value} (no interval: fewer than two clusters); not told apart "
        "from cwcl: infonce, siglip."
    )


def test_a_correction_widens_and_pairs_narrow() -> None:
    hits = outcomes(np.random.default_rng(4), 0.3)
    plain, corrected = gap("cwcl", "infonce", hits), gap("cwcl", "infonce", hits, comparisons=6)
    assert corrected.low < plain.low < plain.value < plain.high < corrected.high
    assert verdict(hits, tests=2).comparisons == 6
    same = gap("infonce", "infonce", hits)
    assert (same.value, same.excludes_0) == (0, False)
    backwards = gap("infonce", "cwcl", hits)
    assert (backwards.value, backwards.low, backwards.high) == pytest.approx(
        (-plain.value, -plain.high, -plain.low), abs=0.02
    )


def test_a_tie_of_two_is_no_lead() -> None:
    alike = np.random.default_rng(0).integers(0, 2, (2, 30)).astype(float)
    told = verdict({"infonce": alike, "cwcl": alike}).sentence("t")
    assert told.startswith("t: no winner: infonce and cwcl differ by 0.000 [")
    assert told.endswith("which holds 0; intervals of 95%, of one comparison, so not corrected.")
