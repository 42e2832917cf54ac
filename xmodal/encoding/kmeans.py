"""k-means over the features of items.

Axes: m items, K clusters, G features.
"""

import warnings

import numpy as np

WHOLE = 20_000  # items: of more, k-means looks at a part at a time (Sculley 2010)


def cluster(vectors: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """k-means: the cluster of each vector [m] int64, and the centres [K, G] float32; the same for the same seed.

    scikit-learn's `KMeans`, the best of 10 starts by k-means++ (Arthur and Vassilvitskii 2007); of more than 20,000
    vectors its `MiniBatchKMeans`. On one thread, since threads add up in any order.

    Args:
        vectors: [m, G], at least `count` of them.
        count: K.
        seed: of the starts.

    Example:
        labels, centres = cluster(store.all_rows(), 64, seed=0)
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans  # late: a second that few runs need
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if len(vectors) > WHOLE:
        model = MiniBatchKMeans(count, batch_size=max(4096, 4 * count), n_init=3, random_state=seed)
    else:
        model = KMeans(count, n_init=10, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of equal vectors; clusters that stay empty are told
        labels = model.fit_predict(vectors)
    return labels.astype(np.int64), model.cluster_centers_.astype(np.float32)
