"""Thresholds of keyword spotting, levels, and lists; each against counting clip by clip."""

import numpy as np
import pytest

from xmodal.errors import UserError
from xmodal.evaluation.keywords.keyword_lists import LISTS, SILENCE, UNKNOWN, class_of, find_list
from xmodal.evaluation.keywords.silence import level_spread
from xmodal.evaluation.keywords.spotting import (
    Clips,
    Rule,
    choose_rule,
    curve_picture,
    operating_point,
    thinned,
    threshold_curve,
)

WORDS = ("no", "yes")
CLASSES = (*WORDS, UNKNOWN, SILENCE)


def clips(seed: int, n: int = 80) -> Clips:
    """Scores of two words; of true words higher ones; some clips without a keyword; some steady ones."""
    rng = np.random.default_rng(seed)
    true = np.array([(*WORDS, UNKNOWN, SILENCE)[at % 4] for at in range(n)], dtype=object)
    scores = np.round(0.3 * rng.standard_normal((n, 2)), 2)
    for at, word in enumerate(WORDS):
        scores[true == word, at] += 0.5
    spread = np.where(true == SILENCE, 3.0, 30.0) + rng.normal(0, 8, n)
    return Clips(scores, true, np.arange(n) // 2, rng.uniform(0.5, 1.5, n) / 3600, spread)


@pytest.mark.parametrize("seed", range(4))
def test_the_rule_is_the_best_that_the_dev_set_has(seed: int) -> None:
    dev = clips(seed)
    rule = choose_rule(dev, WORDS, CLASSES, "dev")
    assert rule.spread is not None
    assert rule.similarity is not None
    silent = dev.true == SILENCE

    def of_silence(threshold: float) -> float:
        return float((dev.spread < threshold)[silent].mean() + (dev.spread >= threshold)[~silent].mean())

    assert of_silence(rule.spread) == pytest.approx(max(of_silence(x) for x in [*dev.spread, 1e9]))
    best = np.where(dev.spread < rule.spread, -2.0, dev.scores.max(1))
    right = np.array(WORDS, dtype=object)[dev.scores.argmax(1)] == dev.true
    words, unknown = dev.wanted, dev.true == UNKNOWN

    def of_words(threshold: float) -> float:
        accepted = best >= threshold
        return float((accepted & right)[words].mean() + (~accepted)[unknown].mean())

    assert of_words(rule.similarity) == pytest.approx(max(of_words(x) for x in [*best, 9.0]))


def test_answers_are_those_of_the_rule() -> None:
    found = clips(1)
    rule = Rule(0.35, 15.0)
    picked = rule.class_scores(found, WORDS, CLASSES).argmax(1)
    for at, (scores, spread) in enumerate(zip(found.scores, found.spread, strict=True)):
        answer = SILENCE if spread < 15 else WORDS[scores.argmax()] if scores.max() >= 0.35 else UNKNOWN
        assert CLASSES[picked[at]] == answer
    assert Rule().class_scores(found, WORDS, WORDS).tolist() == found.scores.tolist()


def test_the_point_and_the_curve_count_clips() -> None:
    found, rule = clips(2), Rule(0.4, 12.0)
    point, curve = operating_point(found, WORDS, rule), threshold_curve(found, WORDS, rule)
    others = np.isin(found.true.astype(str), [UNKNOWN, SILENCE])
    hours = found.hours[others].sum()

    def counted(threshold: float) -> tuple[float, float]:
        accepted = (found.scores.max(1) >= threshold) & (found.spread >= 12)
        right = accepted & (np.array(WORDS, dtype=object)[found.scores.argmax(1)] == found.true)
        return float(accepted[others].sum() / hours), float(1 - right[~others].mean())

    rate, (low, high), n = point["false_accepts_per_hour"]
    missed, (low_missed, high_missed), n_missed = point["miss_rate"]
    assert (rate, missed) == pytest.approx(counted(0.4))
    assert (n, n_missed) == (40, 40)
    assert 0 <= low < rate < high
    assert 0 <= low_missed < missed < high_missed <= 1
    for row in curve.itertuples(index=False):
        assert tuple(row)[1:] == pytest.approx(counted(row[0]))
    assert list(curve["threshold"]) == sorted(curve["threshold"], reverse=True)
    assert curve_picture(curve, (rate, missed), "t").startswith(b"\x89PNG")
    few = thinned(curve)
    assert len(few) <= 40
    assert few.iloc[0].equals(curve.iloc[0])
    assert few.iloc[-1].equals(curve.iloc[-1])


def test_no_false_accept_at_all_is_no_certainty() -> None:
    found = clips(3)
    rate, (low, high), _ = operating_point(found, WORDS, Rule(5.0, 12.0))["false_accepts_per_hour"]
    seen = 0.025 ** (1 / 20)  # of 40 clips without a keyword in pairs
    mean = found.hours[~found.wanted].mean()
    assert (rate, low) == (0, 0)
    assert high == pytest.approx((1 - seen) / seen / mean, rel=0.2)


def test_a_budget_of_false_accepts_is_kept_on_dev() -> None:
    dev = clips(4)
    hours = dev.hours[~dev.wanted].sum()
    for budget in (0.5 / hours, 2.5 / hours, 9 / hours):
        rule = choose_rule(dev, WORDS, CLASSES, "dev", most_per_hour=budget)
        assert operating_point(dev, WORDS, rule)["false_accepts_per_hour"][0] <= budget
        looser = Rule((rule.similarity or 0) - 0.2, rule.spread)
        assert operating_point(dev, WORDS, looser)["miss_rate"][0] <= operating_point(dev, WORDS, rule)["miss_rate"][0]


def test_a_dev_set_lacks_a_class() -> None:
    dev = clips(0)
    for kind, message in ((UNKNOWN, "dev: no clip of _unknown_, whose thresh"), (SILENCE, "dev: no clip of _silence_")):
        rows = dev.true != kind
        part = Clips(dev.scores[rows], dev.true[rows], dev.clusters[rows], dev.hours[rows], dev.spread[rows])  # type: ignore[index]
        with pytest.raises(UserError, match=message):
            choose_rule(part, WORDS, CLASSES, "dev")
    rows = ~dev.wanted
    part = Clips(dev.scores[rows], dev.true[rows], dev.clusters[rows], dev.hours[rows], dev.spread[rows])  # type: ignore[index]
    with pytest.raises(UserError, match=r"dev: no clip of a keyword \(no, yes, \.\.\.\); thresholds need some"):
        choose_rule(part, WORDS, CLASSES, "dev")


def test_steady_sounds_have_no_spread_and_words_have() -> None:
    rng, t = np.random.default_rng(0), np.arange(16000) / 16000
    word = np.where((t > 0.3) & (t < 0.6), np.sin(2 * np.pi * 300 * t), 0.001 * rng.standard_normal(16000))
    assert level_spread(np.zeros(16000, np.float32), 16000) == 0
    assert level_spread(0.1 * rng.standard_normal(16000).astype(np.float32), 16000) < 2
    assert level_spread(np.sin(2 * np.pi * 440 * t).astype(np.float32), 16000) < 1
    assert 40 < level_spread(word.astype(np.float32), 16000) < 70
    assert level_spread(0.01 * word.astype(np.float32), 16000) < level_spread(word.astype(np.float32), 16000)
    assert level_spread(np.ones(3, np.float32), 16000) == level_spread(np.zeros(0, np.float32), 16000) == 0


def test_levels_frame_by_frame() -> None:
    wave = np.random.default_rng(1).standard_normal(5000).astype(np.float32) * np.linspace(0, 1, 5000, dtype=np.float32)
    frames = [wave[at : at + 200] for at in range(0, 5000 - 200 + 1, 80)]
    levels = [max(10 * np.log10(np.mean(np.square(frame, dtype=np.float64))), -90) for frame in frames]
    loud, quiet = np.percentile(levels, [95, 10])
    assert level_spread(wave, 8000) == pytest.approx(loud - quiet)


def test_lists() -> None:
    assert [len(LISTS[name]) for name in ("12", "35", "superb")] == [12, 35, 12]
    assert find_list("35")[0] == "backward"
    assert find_list(["yes", UNKNOWN]) == ("yes", UNKNOWN)
    twelve = find_list("12")
    labels = ["yes", "marvin", "_background_noise_", "silence", None]
    assert [class_of(label, twelve) for label in labels] == ["yes", UNKNOWN, SILENCE, SILENCE, UNKNOWN]
    assert [class_of(label, ("yes", "no")) for label in labels] == ["yes", None, None, None, None]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("v2", "words: no list 'v2'; expected 12, 35, superb, or two or more words"),
        (["yes"], r"words: 1 word \(yes\), expected two or more"),
        (["yes", "yes"], "words: 'yes' is named twice"),
        (["yes", " "], "words: an empty word"),
        ([UNKNOWN, SILENCE], "expected a word to spot among them"),
    ],
)
def test_wrong_lists(words: str | list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_list(words)
