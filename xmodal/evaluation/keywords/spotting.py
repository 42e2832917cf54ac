"""From similarities to answers: silence first, then a word, or none of them; and what other thresholds would do.

A clip whose level hardly moves is `_silence_`. Else the best word is the answer where its similarity is at least a
threshold, and `_unknown_` otherwise. Both thresholds are chosen on a dev set. Axes: n clips, W words, C classes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xmodal.errors import UserError
from xmodal.evaluation.keywords.keyword_lists import SILENCE, UNKNOWN
from xmodal.evaluation.statistics.detection import best_threshold
from xmodal.evaluation.statistics.metrics import Interval, bootstrap_interval, ratio_interval
from xmodal.evaluation.statistics.resampling import Floats
from xmodal.report.detection_figures import detection_tradeoff

SURE = 2.0  # above any cosine: what a silent clip scores for silence, and no other clip for it
SHOWN = 40  # rows of a table of thresholds


@dataclass(frozen=True)
class Clips:
    """What is known of the clips of one set."""

    scores: Floats  # [n, W] cosines
    true: NDArray  # [n] classes
    clusters: NDArray  # [n]
    hours: Floats  # [n] how long they are
    spread: Floats | None = None  # [n] dB, where silence is a class

    def of(self, kind: str) -> NDArray[np.bool_]:
        """Which clips are of a class, [n]."""
        return np.asarray(self.true == kind, dtype=bool)

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """Which clips hold a word of the list, [n]."""
        return ~(self.of(UNKNOWN) | self.of(SILENCE))


@dataclass(frozen=True)
class Rule:
    """Thresholds: of the best word's cosine, and of the level's spread (dB); None where there is no such class."""

    similarity: float | None = None
    spread: float | None = None

    def silent(self, clips: Clips) -> NDArray[np.bool_]:
        """Which clips are taken for silence, [n]."""
        if self.spread is None or clips.spread is None:
            return np.zeros(len(clips.true), dtype=bool)
        return np.asarray(clips.spread < self.spread, dtype=bool)

    def class_scores(self, clips: Clips, words: tuple[str, ...], classes: tuple[str, ...]) -> Floats:
        """Scores [n, C] of which the highest, of equals the first, is the answer."""
        columns = {word: clips.scores[:, at] for at, word in enumerate(words)}
        if UNKNOWN in classes:
            assert self.similarity is not None
            columns[UNKNOWN] = np.full(len(clips.true), np.nextafter(self.similarity, -np.inf))
        if SILENCE in classes:
            columns[SILENCE] = np.where(self.silent(clips), SURE, -SURE)
        return np.stack([columns[name] for name in classes], axis=1)


def choose_rule(
    dev: Clips, words: tuple[str, ...], classes: tuple[str, ...], where: object, most_per_hour: float | None = None
) -> Rule:
    """Thresholds that fit a dev set: see `best_threshold`.

    Args:
        dev: its clips.
        words: [W].
        classes: [C] with `_unknown_`, `_silence_` or both.
        where: the dev set, for errors.
        most_per_hour: so many false accepts per hour of what is no keyword are allowed; then as few misses as can be.

    Raises:
        UserError: the dev set lacks keywords, or clips of a class that needs a threshold.
    """
    for kind in (UNKNOWN, SILENCE):
        if kind in classes and not dev.of(kind).any():
            raise UserError(f"{where}: no clip of {kind}, whose threshold is chosen there; add some, or leave it out")
    if not dev.wanted.any():
        raise UserError(f"{where}: no clip of a keyword ({', '.join(words[:3])}, ...); thresholds need some")
    spread = None
    if SILENCE in classes:
        assert dev.spread is not None
        spoken = ~dev.of(SILENCE)
        spread = best_threshold(dev.spread, spoken, np.ones_like(spoken))
    if UNKNOWN not in classes:
        return Rule(None, spread)
    best = _best(dev, Rule(None, spread))
    heard = dev.wanted | dev.of(UNKNOWN) if most_per_hour is None else np.ones(len(best), dtype=bool)
    right = np.array(words, dtype=object)[dev.scores.argmax(axis=1)] == dev.true
    others = ~dev.wanted
    allowed = None if most_per_hour is None else most_per_hour * float(dev.hours[others].sum()) / int(others.sum())
    return Rule(best_threshold(best[heard], dev.wanted[heard], right[heard], allowed), spread)


def operating_point(clips: Clips, words: tuple[str, ...], rule: Rule) -> dict[str, tuple[float, Interval, int]]:
    """`miss_rate` and `false_accepts_per_hour` with intervals and numbers of clips; the latter where there are others.

    A keyword is missed where another answer than itself is given. A false accept is a word heard in a clip of none.
    """
    threshold = -SURE if rule.similarity is None else rule.similarity
    best, others = _best(clips, rule), ~clips.wanted
    right = np.array(words, dtype=object)[clips.scores.argmax(axis=1)] == clips.true
    missed = ~(right & (best >= threshold))[clips.wanted]
    found = {}
    if len(missed):
        interval = bootstrap_interval(missed, clips.clusters[clips.wanted])
        found["miss_rate"] = (float(missed.mean()), interval, len(missed))
    if others.any():
        accepted, hours = (best[others] >= threshold).astype(np.float64), clips.hours[others]
        mean = float(hours.mean())
        low, high = ratio_interval(accepted, hours / mean, clips.clusters[others])
        rate = float(accepted.sum() / hours.sum())
        found["false_accepts_per_hour"] = (rate, (low / mean, high / mean), len(accepted))
    return found


def threshold_curve(clips: Clips, words: tuple[str, ...], rule: Rule) -> pd.DataFrame:
    """By threshold, from the highest: false accepts per hour without a keyword, and the share of keywords missed."""
    best, others = _best(clips, rule), ~clips.wanted
    right = (np.array(words, dtype=object)[clips.scores.argmax(axis=1)] == clips.true) & clips.wanted
    order = np.argsort(-best, kind="stable")
    last = np.flatnonzero(np.append(np.diff(best[order]) != 0, True))  # of each threshold's clips
    return pd.DataFrame(
        {
            "threshold": best[order][last],
            "false accepts per hour": others[order].cumsum()[last] / clips.hours[others].sum(),
            "missed": 1 - right[order].cumsum()[last] / clips.wanted.sum(),
        }
    ).query(f"threshold > {-SURE}")


def curve_picture(curve: pd.DataFrame, at: tuple[float, float], title: str) -> bytes:
    """False accepts per hour against misses; the point in use."""
    under = "dot: the threshold from the dev set"
    return detection_tradeoff(curve["false accepts per hour"], curve["missed"], at, title, under)


def thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most `SHOWN` rows of a curve, the first and the last among them."""
    return curve.iloc[np.unique(np.linspace(0, len(curve) - 1, SHOWN).astype(int))] if len(curve) > SHOWN else curve


def _best(clips: Clips, rule: Rule) -> Floats:
    """The best word's cosine; of clips taken for silence below all."""
    return np.where(rule.silent(clips), -SURE, clips.scores.max(axis=1))
