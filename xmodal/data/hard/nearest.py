"""The nearest other items of every item, by the cosine of their features.

Input: features [m, G] of unit norm and who may not be a neighbour of whom. Output: lists [m, K] int32, nearest first,
-1 where there is none left. `exact_neighbours` compares all with all in blocks, O(m^2 G); `approximate_neighbours` asks
an index of usearch (HNSW, 1603.09320), which is not installed with xmodal.

Axes: m items, G features, K neighbours.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

BLOCK = 2**24  # cosines held at a time
FACTOR, SPARE = 4, 16  # of an index more is asked for than wanted: some of what it finds may be no neighbour


@dataclass(frozen=True)
class Allowed:
    """Which items may be neighbours: of another group and another label, and not too similar.

    Args:
        groups: [m] items of one group are never neighbours.
        labels: [m] nor are items of one label; -1 is a label of its own. None: labels play no part.
        most: the largest cosine a neighbour may have.
        skip: this many of the nearest that are left are passed over.
    """

    groups: np.ndarray
    labels: np.ndarray | None = None
    most: float | None = None
    skip: int = 0

    def banned(self, rows: np.ndarray, columns: np.ndarray, cosines: np.ndarray) -> np.ndarray:
        """Which of the items `columns` (that broadcast to [b, K]) are no neighbours of the items `rows` [b]."""
        found = self.groups[rows][:, None] == self.groups[columns]
        if self.labels is not None:
            mine = self.labels[rows][:, None]
            found |= (mine == self.labels[columns]) & (mine != -1)
        if self.most is not None:
            found |= cosines > self.most
        return found


def has_index() -> bool:
    """Is usearch installed?"""
    return find_spec("usearch") is not None


def exact_neighbours(
    features: np.ndarray, allowed: Allowed, count: int, device: torch.device | None = None
) -> np.ndarray:
    """The `count` nearest allowed items of every item: [m, count] int32, -1 where there are no more.

    Args:
        features: [m, G] float32, unit norm.
        allowed: who may be a neighbour.
        count: neighbours of each.
        device: where the cosines are made; default: the CPU.

    Example:
        exact_neighbours(features, Allowed(groups=np.arange(len(features))), 32)
    """
    g = torch.from_numpy(features).to(device or torch.device("cpu"))
    lists, asked, step = [], min(count + allowed.skip, len(g)), max(1, BLOCK // max(len(g), 1))
    columns = np.arange(len(g))[None]
    for start in range(0, len(g), step):
        cosines = g[start : start + step] @ g.T  # [b, m]
        rows = np.arange(start, min(start + step, len(g)))
        found = cosines.cpu().numpy() if allowed.most is not None else np.empty(0)
        cosines[torch.from_numpy(allowed.banned(rows, columns, found)).to(g.device)] = -torch.inf
        nearest = cosines.topk(asked, dim=1)
        lists.append(_padded(nearest.indices.cpu().numpy(), nearest.values.isinf().cpu().numpy(), allowed.skip, count))
    return np.concatenate(lists) if lists else np.zeros((0, count), np.int32)


def approximate_neighbours(features: np.ndarray, allowed: Allowed, count: int) -> np.ndarray:
    """As `exact_neighbours`, from an index of usearch: fast for millions of items, and some neighbours are missed.

    Lists are also shorter where most of what the index finds is not allowed.
    """
    from usearch.index import Index

    if len(features) < 2:
        return np.full((len(features), count), -1, np.int32)
    index = Index(ndim=features.shape[1], metric="cos", dtype="f32")
    index.add(np.arange(len(features)), features)
    found = index.search(features, min(FACTOR * (count + allowed.skip) + SPARE, len(features)))
    keys, distances = np.asarray(found.keys).astype(np.int64), np.asarray(found.distances)
    missing = np.arange(keys.shape[1])[None] >= np.asarray(found.counts)[:, None].astype(np.int64)
    keys[missing] = 0
    banned = missing | allowed.banned(np.arange(len(keys)), keys, 1 - distances)
    order = np.argsort(banned, axis=1, kind="stable")  # what is allowed first, nearest first
    return _padded(
        np.take_along_axis(keys, order, axis=1), np.take_along_axis(banned, order, axis=1), allowed.skip, count
    )


def _padded(nearest: np.ndarray, banned: np.ndarray, skip: int, count: int) -> np.ndarray:
    """The lists [b, count] without the first `skip`, -1 where an entry is banned or there is none."""
    kept = np.where(banned, -1, nearest)[:, skip : skip + count]
    lists = np.full((len(kept), count), -1, np.int32)
    lists[:, : kept.shape[1]] = kept
    return lists
