"""The items of the guide side that a run's pairs hold, as mining sees them.

Input: a `PairDataset` whose guide side is read from a store of vectors. Output: which item each pair has, which pairs
are positives of one another, and the items' features.

Axes: n pairs, m items of the guide side, G features.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from xmodal.data.dataset import PairDataset
from xmodal.data.items import different
from xmodal.data.side_reader import SideReader
from xmodal.store import view_id
from xmodal.store.vectors import unit

AT_ONCE = 65_536  # items whose rows are read at a time


@dataclass(frozen=True)
class GuideItems:
    """What mining knows of the pairs.

    `of_pair` [n]: the item of each pair, from 0 to m - 1. `groups` [m]: pairs linked by equal items, on any side, are
    one group. `labels` [m] where they are to differ: then an item that occurs under two labels is two.
    """

    of_pair: np.ndarray
    groups: np.ndarray
    labels: np.ndarray | None
    first: np.ndarray  # [m] a row of the manifest that holds it
    side: SideReader

    def __len__(self) -> int:
        return len(self.groups)

    def features(self) -> np.ndarray:
        """Unit features [m, G] float32; of an item in several texts or views the direction of their mean."""
        store = getattr(self.side.processor, "store")  # noqa: B009 - a StoreProcessor's; data does not import towers
        found = np.zeros((len(self), store.width), np.float32)
        for start in range(0, len(self), AT_ONCE):
            names, owners = [], []
            for at, row in enumerate(self.first[start : start + AT_ONCE].tolist(), start):
                for item in self.side.items.ids[self.side.items.of(row)].tolist():
                    views = self.side.stored_views
                    names += [view_id(item, view, views) for view in range(views)]
                    owners += [at] * views
            np.add.at(found, owners, unit(store.rows(np.array(names, np.int64))))
        return unit(found)


def guide_items(dataset: PairDataset, guide: str, by_label: bool) -> GuideItems:
    """The items of side `guide`; `by_label`: those of one label are no negatives of one another.

    Example:
        items = guide_items(dataset, "text", by_label=False)
    """
    rows, side = dataset.rows, dataset.sides[guide]
    _, keys = different(side.items.ids, *dataset.items_of(guide))
    labels = dataset.labels if by_label else None
    columns = [keys] if labels is None else [keys, labels]
    _, first, of_pair = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    of_pair = of_pair.reshape(-1)
    return GuideItems(
        of_pair=of_pair,
        groups=_linked(dataset, rows)[first],
        labels=None if labels is None else labels[first],
        first=rows[first],
        side=side,
    )


def _linked(dataset: PairDataset, rows: np.ndarray) -> np.ndarray:
    """The group [n] of each pair: pairs that share an item on some side, directly or through others, are one group."""
    pairs, tags, offset = [], [], len(rows)
    for side in dataset.sides.values():
        numbers = np.unique(side.items.ids, return_inverse=True)[1].reshape(-1)  # equal items, equal numbers
        count = side.items.count[rows]
        within = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
        pairs.append(np.repeat(np.arange(len(rows)), count))
        tags.append(offset + numbers[np.repeat(side.items.first[rows], count) + within])
        offset += len(numbers)
    i, j = np.concatenate(pairs), np.concatenate(tags)
    links = coo_matrix((np.ones(len(i), np.int8), (i, j)), shape=(offset, offset))
    return np.asarray(connected_components(links, directed=False)[1][: len(rows)])
