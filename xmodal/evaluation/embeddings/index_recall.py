"""How much an index misses: recall@10 against the exact search, measured over two sets of queries.

`items`: rows of the matrix, each without itself. `between`: means of four rows drawn at random, which lie far from
every row, as queries of another modality do, and of whose neighbours an index misses more. Of the makeshifts that were
tried over a million rows (means of 2, 4 and 8 rows, rows with noise) their recall was nearest to that of real queries
(`benchmarks/bench_search.py`). Axes: N items, D embedding, n queries of a set, k neighbours, c candidates.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xmodal.evaluation.embeddings.nearest import Nearest, nearest_rows, products
from xmodal.progress import progress_bar

K, QUERIES = 10, 200
MIXED = 4  # rows whose mean is a query of `between`
WANTED = 0.98  # recall@10 of the worse set; queries of users are none of those measured
EXPANSIONS = (256, 512, 1024, 2048, 4096)  # items a search keeps in view: tried in order until the recall is there
AT_ONCE = 20  # queries, between two looks at the bar
EQUAL = 1e-6  # scores that differ by less are equal: which of equal items is found does not matter


class QuerySet(NamedTuple):
    """Queries with a known answer."""

    queries: NDArray[np.float32]  # [n, D] unit norm
    own: NDArray[np.int64]  # [n] the row that a query is, which does not count; -1 where it is none


def query_sets(z: NDArray[np.float32], seed: int = 0) -> dict[str, QuerySet]:
    """`QUERIES` queries of each set, fewer where there are fewer rows."""
    rng = np.random.default_rng(seed)
    n = min(QUERIES, len(z))
    rows = np.sort(rng.choice(len(z), n, replace=False))
    between = z[rng.integers(len(z), size=(n, MIXED))].sum(axis=1)
    between /= np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-6)
    return {"items": QuerySet(z[rows], rows), "between": QuerySet(between, np.full(n, -1))}


def calibrated(graph: Any, z: NDArray[np.float32], seed: int = 0) -> tuple[int, dict[str, float], int]:
    """Set how far a search looks: the smallest of `EXPANSIONS` that reaches `WANTED`, or the last.

    Returns:
        The expansion, recall@10 of each set of queries with it, and how many queries a set has.
    """
    sets = query_sets(z, seed)
    limits = {name: exact_limits(z, these, name) for name, these in sets.items()}
    recall: dict[str, float] = {}
    for expansion in EXPANSIONS:
        graph.expansion_search = expansion
        recall = {name: round(recall_of(graph, z, these, limits[name]), 4) for name, these in sets.items()}
        if min(recall.values()) >= WANTED:
            break
    return graph.expansion_search, recall, len(sets["items"].queries)


def exact_limits(z: NDArray[np.float32], these: QuerySet, name: str = "queries") -> NDArray[np.float32]:
    """The score [n] of every query's K-th nearest row, by the exact search; the last one's where there are fewer."""
    limits = []
    with progress_bar(total=len(these.queries), desc=f"exact search, {name}", unit="queries", delay=2) as bar:
        for start in range(0, len(these.queries), AT_ONCE):
            part = these.queries[start : start + AT_ONCE]
            for found, own in zip(nearest_rows(z, part, K + 1), these.own[start:], strict=False):
                scores = found[1][found[0] != own][:K]
                limits.append(scores[-1] if len(scores) else -np.inf)
            bar.update(len(part))
    return np.asarray(limits, np.float32)


def recall_of(graph: Any, z: NDArray[np.float32], these: QuerySet, limits: NDArray[np.float32]) -> float:
    """The mean share of the K nearest that an index finds, over queries."""
    shares = []
    for query, own, limit in zip(these.queries, these.own, limits, strict=True):
        rows, scores = rescored(z, query, np.asarray(graph.search(query, graph.expansion_search, threads=1).keys))
        scores = scores[rows != own][:K]
        shares.append(float((scores >= limit - EQUAL).sum()) / min(K, len(z) - int(own >= 0)))
    return float(np.mean(shares))


def rescored(z: NDArray[np.float32], query: NDArray[np.float32], candidates: NDArray[Any]) -> Nearest:
    """Candidates [c] and their exact scores, best first; of equals the earlier one.

    Example:
        rows, cosines = rescored(embedded.z, query, index.candidates(query, 256))
    """
    rows = candidates.astype(np.int64)
    scores = products(z[rows], query)
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]
