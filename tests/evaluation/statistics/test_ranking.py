"""Ranks against a loop over sorted lists and CLIP_benchmark's recall; chance against every order there is."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import average_precision_score

from xmodal.evaluation.statistics import ranking
from xmodal.evaluation.statistics.ranking import (
    Ranks,
    chance_mean_rank,
    chance_median_rank,
    chance_precision,
    chance_recall,
    median_rank,
    median_rank_interval,
    rank,
)


def embeddings(n: int, d: int, seed: int) -> torch.Tensor:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(z, dim=1)


def many_to_many(n: int, m: int, seed: int) -> np.ndarray:
    """Every query has one to four positives."""
    rng = np.random.default_rng(seed)
    pairs = [(i, j) for i in range(n) for j in rng.choice(m, rng.integers(1, 5), replace=False)]
    return rng.permutation(np.array(pairs))


def by_sorting(queries: torch.Tensor, items: torch.Tensor, pairs: np.ndarray) -> list[tuple[int, float, int]]:
    """(best rank, average precision at 10, top) of every query, from the sorted gallery."""
    found = []
    for i, query in enumerate(queries.double()):
        scores = (items.double() @ query).tolist()
        order = sorted(range(len(items)), key=lambda j: (-scores[j], j))
        right = {j for q, j in pairs.tolist() if q == i}
        places = [place for place, j in enumerate(order, 1) if j in right]
        total = sum(number / place for number, place in enumerate(places, 1) if place <= 10)
        found.append((places[0], total / min(len(right), 10), order[0]))
    return found


@pytest.mark.parametrize("block", [1, 300, 10**7])
def test_ranks_are_those_of_a_sorted_gallery(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(ranking, "BLOCK", block)
    monkeypatch.setattr(ranking, "FEWEST", 1)
    queries, items, pairs = embeddings(40, 4, 0), embeddings(60, 4, 1), many_to_many(40, 60, 2)
    found = rank(queries, items, pairs)
    best, precision, top = zip(*by_sorting(queries, items, pairs), strict=True)
    assert found.best.tolist() == list(best)
    assert found.precision.tolist() == pytest.approx(list(precision))
    assert found.top.tolist() == list(top)
    assert found.score.tolist() == pytest.approx((queries @ items.T).amax(1).tolist())
    assert found.positives.tolist() == np.bincount(pairs[:, 0]).tolist()
    assert found.ties == 0
    assert {k: found.hits(k).mean() for k in (1, 5)} == {k: np.mean([b <= k for b in best]) for k in (1, 5)}


def test_precision_is_scikit_learns_where_nothing_is_cut_off() -> None:
    queries, items, pairs = embeddings(30, 3, 3), embeddings(10, 3, 4), many_to_many(30, 10, 5)
    found = rank(queries, items, pairs)
    for i in range(30):
        right = np.isin(np.arange(10), pairs[pairs[:, 0] == i, 1])
        assert found.precision[i] == pytest.approx(average_precision_score(right, (items @ queries[i]).numpy()))


def test_of_equal_scores_the_first_item_wins() -> None:
    # One query, scores 3 1 2 2 2 1 by hand; the positives are the items given.
    items = torch.tensor([[3.0], [1], [2], [2], [2], [1]])
    for right, best, ties in (([2], 2, 1), ([3], 3, 1), ([4], 4, 1), ([4, 3], 3, 1), ([2, 3, 4], 2, 0), ([5], 6, 1)):
        found = rank(torch.ones(1, 1), items, np.array([(0, j) for j in right]))
        assert (found.best.tolist(), found.ties) == ([best], ties), right
    # what ties among positives alone is no tie that counts; ranks 2, 3, 4 of three positives
    found = rank(torch.ones(1, 1), items, np.array([(0, 4), (0, 2), (0, 3)]))
    assert found.precision.tolist() == pytest.approx([(1 / 2 + 2 / 3 + 3 / 4) / 3])


def test_a_collapsed_model_is_at_chance() -> None:
    """All embeddings equal: the order of the gallery decides, so one query in m is right."""
    z = embeddings(1, 16, 0)
    pairs = np.stack([np.arange(50), np.arange(50)], axis=1)
    found = rank(z.repeat(50, 1), z.repeat(50, 1), pairs)
    assert found.best.tolist() == list(range(1, 51))
    assert found.ties == 50


def test_recall_is_clip_benchmarks_on_several_captions_an_image() -> None:
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    image_of = np.repeat(np.arange(70), np.random.default_rng(0).integers(1, 7, 70))
    images = embeddings(70, 24, 1)
    texts = torch.nn.functional.normalize(images[image_of] + 2.5 * embeddings(len(image_of), 24, 2), dim=1)
    scores = texts @ images.T
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(texts)), torch.from_numpy(image_of)] = True
    pairs = np.stack([np.arange(len(texts)), image_of], axis=1)
    to_images, to_texts = rank(texts, images, pairs), rank(images, texts, pairs[:, ::-1])
    for k in (1, 5, 10):
        for found, x, y in ((to_images, scores, positive), (to_texts, scores.T, positive.T)):
            expected = (theirs.batchify(theirs.recall_at_k, x, y, 64, "cpu", k=k) > 0).float().mean().item()
            assert found.hits(k).mean() == pytest.approx(expected, abs=1e-6)
            assert 0.05 < expected < 1


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(0, 0), (0, 1)], "1 of 2 queries have no positive"),
        ([(0, 0), (1, 3)], "positives outside 2 queries and 3 items"),
        ([(0, 0), (2, 0)], "positives outside"),
        ([(0, 0), (1, 1), (0, 0)], "given twice"),
        ([], "2 of 2 queries have no positive"),
    ],
)
def test_pairs_that_do_not_fit(pairs: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank(embeddings(2, 4, 0), embeddings(3, 4, 0), np.array(pairs))


def test_embeddings_that_are_not_finite() -> None:
    with pytest.raises(ValueError, match="not finite"):
        rank(embeddings(1, 4, 0), torch.full((2, 4), torch.nan), np.array([(0, 0)]))


@pytest.mark.parametrize(("p", "m"), [(1, 5), (2, 6), (6, 6), (3, 12)])
def test_chance_is_the_mean_over_every_order(p: int, m: int) -> None:
    best, precision = [], []
    for places in itertools.combinations(range(1, m + 1), p):  # where the positives stand: all equally likely
        best.append(places[0])
        precision.append(sum(j / r for j, r in enumerate(places, 1) if r <= 10) / min(p, 10))
    counts = np.full(3, p)
    for k in range(1, m + 1):
        assert chance_recall(counts, m, k) == pytest.approx(np.mean([b <= k for b in best]))
    assert chance_mean_rank(counts, m) == pytest.approx(np.mean(best))
    assert chance_precision(counts, m) == pytest.approx(np.mean(precision))
    assert chance_median_rank(counts, m) == next(
        k for k in range(1, m + 1) if np.mean([b <= k for b in best]) >= 0.5 - 1e-9
    )


def test_chance_is_averaged_over_queries() -> None:
    counts = np.array([1, 1, 5])
    expected = np.mean([1 - stats.hypergeom(1000, p, 10).pmf(0) for p in counts])
    assert chance_recall(counts, 1000, 10) == pytest.approx(expected)


def test_median_rank_is_where_recall_reaches_half() -> None:
    for best in ([1, 2, 3, 4], [7], [1, 1, 9], [2, 2, 3, 9, 9, 9]):
        found = median_rank(np.array(best))
        assert np.mean(np.array(best) <= found) >= 0.5 > np.mean(np.array(best) < found)


def test_median_rank_interval_resamples_clusters() -> None:
    """Against every resample of six clusters: 6^6 of them, at the level 0.00243 of the expanded percentiles."""
    groups = [[1, 9], [2, 3, 30], [5], [8, 12], [4, 4, 7], [20]]
    best = np.array([b for group in groups for b in group])
    clusters = np.array([i for i, group in enumerate(groups) for _ in group])
    medians = sorted(
        median_rank(np.array([b for i in drawn for b in groups[i]])) for drawn in itertools.product(range(6), repeat=6)
    )
    low, high = median_rank_interval(best, clusters, samples=20000)
    assert medians[int(0.0016 * 6**6)] <= low <= medians[int(0.0034 * 6**6)]
    assert medians[int(0.9966 * 6**6)] <= high <= medians[int(0.9984 * 6**6)]
    assert {low, high} <= set(best.tolist())
    for few in (np.zeros(12), np.arange(12) % 5):  # the range of five holds the median in 1 - 2 / 2^5 of cases
        assert np.isnan(median_rank_interval(best, few)).all()
    with pytest.raises(ValueError, match="null"):
        median_rank_interval(best, np.array([*"abcdefghijk", None], dtype=object))


def test_memory_does_not_grow_with_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest array of scores is a block, whatever n x m is."""
    monkeypatch.setattr(ranking, "BLOCK", 1000)
    monkeypatch.setattr(ranking, "FEWEST", 4)
    sizes = []
    product = torch.mm

    def mm(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        sizes.append(out.numel())
        return product(a, b, out=out)

    monkeypatch.setattr(torch, "mm", mm)
    pairs = np.stack([np.arange(100), np.arange(100)], axis=1)
    found = rank(embeddings(100, 8, 0), embeddings(120, 8, 1), pairs)
    assert isinstance(found, Ranks)
    assert max(sizes) <= 1000
    assert sum(sizes) == 100 * 120
