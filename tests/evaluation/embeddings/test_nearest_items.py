"""The exact search in blocks, against sorting all cosines."""

import numpy as np
import pytest

from xmodal.evaluation.embeddings import nearest
from xmodal.evaluation.embeddings.nearest import nearest_rows


@pytest.mark.parametrize("block", [1, 64, 10_000])
@pytest.mark.parametrize("chosen", [None, 0.1, 0.6])
def test_the_same_as_sorting_all(block: int, chosen: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "SCORES", 3 * block)
    monkeypatch.setattr(nearest, "COPIED", 5 * block)
    rng = np.random.default_rng(0)
    z, queries = (rng.standard_normal((n, 5)).astype(np.float32) for n in (700, 3))
    z[300] = z[20]  # equals: the earlier one comes first
    queries[0] = z[20]
    rows = np.flatnonzero(rng.random(700) < (chosen or 1))
    for query, (found, scores) in zip(queries, nearest_rows(z, queries, 9, rows if chosen else None), strict=True):
        cosines = z[rows].astype(np.float64) @ query
        assert found.tolist() == rows[np.argsort(-cosines, kind="stable")[:9]].tolist()
        np.testing.assert_allclose(scores, np.sort(cosines)[::-1][:9], rtol=1e-5)


@pytest.mark.parametrize("alone", [0, 2**25])
def test_one_query_by_this_thread_and_by_those_of_blas(alone: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "ALONE", alone)
    z = np.random.default_rng(0).standard_normal((500, 7)).astype(np.float32)
    cosines = z.astype(np.float64) @ z[3]
    [(found, scores)] = nearest_rows(z, z[3:4], 20)
    assert found.tolist() == np.argsort(-cosines)[:20].tolist()
    np.testing.assert_allclose(scores, cosines[found], rtol=1e-5)


def test_many_equals_keep_their_order() -> None:
    z = np.tile(np.float32([1, 0]), (100, 1))
    [(found, _)] = nearest_rows(z, z[:1], 7)
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_more_hits_than_rows_and_no_rows() -> None:
    z = np.eye(3, dtype=np.float32)
    [(found, _)] = nearest_rows(z, z[1:2], 10)
    assert found.tolist() == [1, 0, 2]
    [(found, scores)] = nearest_rows(z, z[1:2], 10, np.empty(0, np.int64))
    assert len(found) == len(scores) == 0
