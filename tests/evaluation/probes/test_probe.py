"""Probes against scikit-learn, loops from the definitions, and data whose answer is known."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from xmodal.errors import UserError
from xmodal.evaluation.probes import probe
from xmodal.evaluation.probes.probe import few_shot, knn_probe, linear_probe
from xmodal.evaluation.probes.validation import validation_split
from xmodal.evaluation.statistics import blocks
from xmodal.evaluation.statistics.drawn_interval import drawn_interval
from xmodal.evaluation.statistics.metrics import bootstrap_interval

CLASSES = ("ant", "bee", "cow")


def blobs(n: int, seed: int, spread: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """n unit vectors around three directions of 6-space, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.array(CLASSES, dtype=object)[np.arange(n) % 3]
    z = np.eye(6)[np.arange(n) % 3] + spread * rng.standard_normal((n, 6))
    return z / np.linalg.norm(z, axis=1, keepdims=True), labels


TRAIN, LABELS = blobs(90, 0)
TEST, TRUE = blobs(60, 1)


def predicted(found: probe.ClassScores) -> np.ndarray:
    return np.array(found.classes, dtype=object)[found.scores.argmax(1)]


# --------------------------------------------------------------------------------------------------------------- linear


def test_linear_probe_is_scikit_learns_with_the_best_c_on_the_held_out_part() -> None:
    held = validation_split(LABELS)
    right = {}
    for strength in probe.STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=5000, tol=1e-6).fit(TRAIN[~held], LABELS[~held].astype(str))
        right[strength] = model.score(TRAIN[held], LABELS[held].astype(str))
    best = min(c for c in right if right[c] == max(right.values()))
    found = linear_probe(TRAIN, LABELS, TEST)
    assert found.context["C"] == best
    assert found.context["validation_accuracy"] == pytest.approx(right[best])
    assert found.context["validation_items"] == 18
    assert found.context["converged"]
    model = LogisticRegression(C=best, max_iter=5000, tol=1e-8).fit(TRAIN, LABELS.astype(str))  # refit on everything
    assert found.classes == CLASSES
    assert found.scores == pytest.approx(model.predict_proba(TEST), abs=1e-3)
    assert (predicted(found) == TRUE).mean() > 0.7


def test_linear_probe_of_two_classes_has_two_columns() -> None:
    keep, tested = LABELS != "cow", TRUE != "cow"
    found = linear_probe(TRAIN[keep], LABELS[keep], TEST[tested])
    assert found.scores.shape == (40, 2)
    assert found.scores.sum(1) == pytest.approx(1)
    assert (predicted(found) == TRUE[tested]).mean() > 0.7


def test_the_edge_of_the_grid_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STRENGTHS", (1.0,))
    assert linear_probe(TRAIN, LABELS, TEST).context["C_at_edge"]
    monkeypatch.setattr(probe, "ITERATIONS", 1)
    assert not linear_probe(TRAIN, LABELS, TEST).context["converged"]


# ---------------------------------------------------------------------------------------------------------- neighbours


@pytest.mark.parametrize("k", [1, 7, 90])
def test_knn_is_the_weighted_vote_in_a_loop(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 90 * 7)  # ragged blocks
    expected = []
    for z in TEST:
        cosines = TRAIN @ z
        votes = dict.fromkeys(CLASSES, 0.0)
        for i in sorted(range(90), key=lambda i: -cosines[i])[:k]:
            votes[LABELS[i]] += math.exp(cosines[i] / 0.07)
        expected.append([votes[c] / sum(votes.values()) for c in CLASSES])
    found = knn_probe(TRAIN, LABELS, TEST, k=k)
    assert found.scores == pytest.approx(np.array(expected), abs=1e-9)
    assert found.context["k"] == k


def test_knn_is_scikit_learns() -> None:
    model = KNeighborsClassifier(9, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    model.fit(TRAIN, LABELS.astype(str))
    found = knn_probe(3 * TRAIN, LABELS, TEST, k=9)  # the scale of features is of no account
    assert found.scores == pytest.approx(model.predict_proba(TEST), abs=1e-9)


def test_knn_chooses_k_on_the_held_out_part() -> None:
    held = validation_split(LABELS)
    right = {}
    for k in (1, 5, 10, 20, 50):  # 72 items are left to vote
        model = KNeighborsClassifier(k, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
        right[k] = model.fit(TRAIN[~held], LABELS[~held].astype(str)).score(TRAIN[held], LABELS[held].astype(str))
    found = knn_probe(TRAIN, LABELS, TEST)
    assert found.context["k"] == min(k for k in right if right[k] == max(right.values()))
    assert found.context["validation_accuracy"] == pytest.approx(max(right.values()))
    assert found.scores == pytest.approx(knn_probe(TRAIN, LABELS, TEST, k=found.context["k"]).scores)


def test_of_equally_near_items_the_earlier_ones_vote() -> None:
    z = np.eye(2)[[0, 0, 0, 1]]
    found = knn_probe(z, ["b", "a", "a", "c"], np.eye(2)[[0]], k=1)
    assert found.scores.tolist() == [[0, 1, 0]]


# ------------------------------------------------------------------------------------------------------------- few-shot


def test_few_shot_is_scikit_learns_on_the_drawn_examples() -> None:
    """The draw, by hand: of a permutation by the seed the first examples of each class."""
    for shots in (4, 8):
        found = few_shot(TRAIN, LABELS, TEST, shots=shots)
        assert [f.context["seed"] for f in found] == [0, 1, 2, 3, 4]
        for seed, scores in enumerate(found):
            taken: dict[str, list[int]] = {name: [] for name in CLASSES}
            for row in np.random.default_rng(seed).permutation(90):
                taken[LABELS[row]].append(row)
            rows = [row for name in CLASSES for row in taken[name][:shots]]
            model = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8).fit(TRAIN[rows], LABELS[rows].astype(str))
            assert scores.scores == pytest.approx(model.predict_proba(TEST), abs=1e-3)
        assert not np.allclose(found[0].scores, found[1].scores, atol=0.01)


def test_interval_over_draws_and_items_covers() -> None:
    """Accuracies that differ by draw (five) and by item: over 300 repetitions the interval holds the truth."""
    rng = np.random.default_rng(0)
    ease = rng.standard_normal(400000)
    for by_draw, by_item, items in ((0.5, 1.0, 48), (0.5, 0.5, 1000), (0.0, 1.5, 100)):
        truth = (1 / (1 + np.exp(-(0.8 + math.hypot(by_draw, by_item) * ease)))).mean()
        held = 0
        for seed in range(300):
            logits = 0.8 + by_draw * rng.standard_normal((5, 1)) + by_item * rng.standard_normal((1, items))
            low, high = drawn_interval(rng.random((5, items)) < 1 / (1 + np.exp(-logits)), samples=400, seed=seed)
            held += low <= truth <= high
        assert held >= 0.9 * 300


def test_interval_over_draws_and_items_of_clusters() -> None:
    """Six draws alike in spread to ten clusters: wider than over the items alone, and cut at 0 and 1."""
    rng = np.random.default_rng(1)
    clusters = np.repeat([f"c{i}" for i in range(10)], 3)
    logits = 1.5 * rng.standard_normal((6, 1)) + np.repeat(rng.standard_normal((1, 10)), 3, axis=1)
    hits = (rng.random((6, 30)) < 1 / (1 + np.exp(-logits))).astype(float)
    low, high = drawn_interval(hits, clusters)
    alone = bootstrap_interval(hits.mean(0), clusters)
    assert 0 <= low < alone[0] < hits.mean() < alone[1] < high <= 1
    order = rng.permutation(30)
    assert drawn_interval(hits[:, order], clusters[order]) == pytest.approx((low, high), abs=0.03)
    assert drawn_interval(hits[:1], clusters) == bootstrap_interval(hits[0], clusters)
    assert drawn_interval(np.ones((3, 5)))[1] == 1
    assert drawn_interval(np.ones((3, 5)))[0] == pytest.approx(0.025 ** (1 / 5))
    assert np.isnan(drawn_interval(hits, ["one"] * 30)).all()
    with pytest.raises(ValueError, match="null"):
        drawn_interval(hits, np.where(clusters == "c3", None, clusters))


# ---------------------------------------------------------------------------------------------------------------- split


def test_split_is_stratified_and_seeded() -> None:
    labels = np.array(["a"] * 50 + ["b"] * 10 + ["c"] * 2 + ["d"])
    held = validation_split(labels)
    assert {c: int(held[labels == c].sum()) for c in "abcd"} == {"a": 10, "b": 2, "c": 1, "d": 0}
    assert np.array_equal(held, validation_split(labels))
    assert not np.array_equal(held, validation_split(labels, seed=1))


def test_split_keeps_groups_together() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([f"speaker {i}" for i in range(20)], 6)
    labels = np.array(CLASSES)[rng.integers(0, 3, 120)]
    held = validation_split(labels, groups)
    assert not set(groups[held]) & set(groups[~held])
    assert 12 <= held.sum() <= 36
    assert set(labels[held]) == set(CLASSES)
    assert linear_probe(np.eye(3)[rng.integers(0, 3, 120)], labels, np.eye(3), groups).context["validation_items"] > 0


# --------------------------------------------------------------------------------------------------------------- errors


def test_mistakes() -> None:
    for function in (linear_probe, knn_probe, lambda *a: few_shot(*a, shots=1)):
        with pytest.raises(UserError, match="90 training embeddings and 89 labels"):
            function(TRAIN, LABELS[:89], TEST)
        with pytest.raises(UserError, match=r"\[90, 6\] and \[60, 5\]"):
            function(TRAIN, LABELS, TEST[:, :5])
        with pytest.raises(UserError, match="1 of 60 test embeddings are not finite"):
            function(TRAIN, LABELS, np.where(np.arange(60)[:, None] == 3, np.nan, TEST))
        with pytest.raises(UserError, match="1 class among 90"):
            function(TRAIN, ["ant"] * 90, TEST)
    with pytest.raises(UserError, match=r"5 shots, but 'bee' has 4 training items; give 1 to 4"):
        few_shot(TRAIN[:13], LABELS[:13], TEST, shots=5)
    with pytest.raises(UserError, match="k is 91, expected 1 to 90"):
        knn_probe(TRAIN, LABELS, TEST, k=91)
    with pytest.raises(UserError, match="every class has one item"):
        linear_probe(TRAIN[:3], LABELS[:3], TEST)
    with pytest.raises(UserError, match="1 group over 90 items, expected two or more"):
        linear_probe(TRAIN, LABELS, TEST, groups=["one"] * 90)
    with pytest.raises(UserError, match="one class is left"):
        linear_probe(TRAIN[:4], list("aabb"), TEST, groups=list("xxyy"))
