"""Clusters: what k-means must satisfy, by hand."""

import numpy as np
import pytest

from xmodal.encoding import kmeans
from xmodal.encoding.kmeans import cluster
from xmodal.store.vectors import unit


def blobs(each=30):
    rng = np.random.default_rng(0)
    return np.concatenate([10 * np.eye(4)[c] + rng.normal(0, 0.3, (each, 4)) for c in range(4)]).astype(np.float32)


@pytest.mark.parametrize("whole", [20_000, 50])
def test_clusters_that_lie_apart_are_found(whole, monkeypatch):
    monkeypatch.setattr(kmeans, "WHOLE", whole)  # 50: as if there were too many items to look at all of them at once
    labels, centres = cluster(blobs(), 4, seed=3)
    by_blob = labels.reshape(4, 30)
    assert (by_blob == by_blob[:, :1]).all()
    assert len(set(by_blob[:, 0])) == 4
    assert centres.shape == (4, 4)
    again, same = cluster(blobs(), 4, seed=3)
    np.testing.assert_array_equal(labels, again)
    np.testing.assert_array_equal(centres, same)


def test_each_item_is_in_the_cluster_of_the_nearest_centre_which_is_its_items_mean():
    vectors = unit(np.random.default_rng(1).standard_normal((300, 8))).astype(np.float32)
    labels, centres = cluster(vectors, 7, seed=0)
    distances = np.array([[np.sum((v - c) ** 2) for c in centres.astype(np.float64)] for v in vectors])
    np.testing.assert_array_equal(labels, distances.argmin(1))
    for number in range(7):
        np.testing.assert_allclose(centres[number], vectors[labels == number].mean(0), atol=1e-5)


def test_fewer_different_vectors_than_clusters_leave_some_empty():
    labels, _ = cluster(np.repeat(np.eye(3, dtype=np.float32), 5, axis=0), 4, seed=0)
    assert len(set(labels.tolist())) == 3


def test_rows_of_norm_one():
    np.testing.assert_allclose(unit(np.array([[3.0, 4.0], [0, 0]])), [[0.6, 0.8], [0, 0]])
