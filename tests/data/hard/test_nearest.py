"""Neighbour lists against sorting every cosine, in float64."""

import numpy as np
import pytest

from xmodal.data.hard import nearest
from xmodal.data.hard.nearest import Allowed, approximate_neighbours, exact_neighbours

RNG = np.random.default_rng(5)


def unit(m: int, width: int = 6) -> np.ndarray:
    x = RNG.standard_normal((m, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def by_sorting(features: np.ndarray, allowed: Allowed, count: int) -> list[list[int]]:
    lists = []
    for i, own in enumerate(features.astype(np.float64)):
        cosines = {j: float(own @ other) for j, other in enumerate(features.astype(np.float64))}
        left = [
            j
            for j, cosine in cosines.items()
            if allowed.groups[j] != allowed.groups[i]
            and (allowed.labels is None or allowed.labels[i] == -1 or allowed.labels[j] != allowed.labels[i])
            and (allowed.most is None or cosine <= allowed.most)
        ]
        best = sorted(left, key=lambda j: -cosines[j])[allowed.skip :][:count]
        lists.append(best + [-1] * (count - len(best)))
    return lists


FEATURES = unit(57)
GROUPS = np.arange(57) // 3
LABELS = RNG.integers(-1, 4, 57)
RULES = {
    "other items": Allowed(np.arange(57)),
    "other groups": Allowed(GROUPS),
    "other labels": Allowed(GROUPS, LABELS),
    "not too similar": Allowed(GROUPS, most=0.6),
    "not the nearest": Allowed(GROUPS, skip=3),
    "all of it": Allowed(GROUPS, LABELS, most=0.8, skip=2),
    "nobody": Allowed(np.zeros(57, np.int64)),
}


@pytest.mark.parametrize("block", [1, 57 * 10, 2**24])
@pytest.mark.parametrize("name", RULES)
def test_exact_lists_are_those_of_sorting(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK", block)
    for count in (4, 80):  # more than there are
        found = exact_neighbours(FEATURES, RULES[name], count)
        assert found.dtype == np.int32
        assert found.tolist() == by_sorting(FEATURES, RULES[name], count)


def test_lists_of_no_items_and_of_one() -> None:
    assert exact_neighbours(unit(0), Allowed(np.arange(0)), 3).shape == (0, 3)
    assert exact_neighbours(unit(1), Allowed(np.arange(1)), 3).tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize("name", [name for name in RULES if name != "nobody"])
def test_an_index_finds_nearly_the_same(name: str) -> None:
    found = approximate_neighbours(FEATURES, RULES[name], 4)
    expected = by_sorting(FEATURES, RULES[name], 4)
    assert found.shape == (57, 4)
    shared = [len({*a, -1} & {*b, -1}) / len({*b, -1}) for a, b in zip(found.tolist(), expected, strict=True)]
    assert np.mean(shared) > 0.9
    for row, entries in enumerate(found.tolist()):
        kept = np.array([j for j in entries if j >= 0], np.int64)
        cosines = FEATURES[row] @ FEATURES[kept].T
        assert not RULES[name].banned(np.array([row]), kept[None], cosines[None]).any()
