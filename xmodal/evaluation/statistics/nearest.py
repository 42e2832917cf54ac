"""Nearest neighbours by inner product; of equal products the earlier key comes first, on every machine."""

import torch
from torch import Tensor


def nearest(queries: Tensor, keys: Tensor, k: int, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k keys of largest inner product with each query, best first: (places [q, k], products [q, k]).

    Of equal products the earlier key comes first. Holds q x n products: the caller takes blocks of queries.

    Args:
        queries: [q, D].
        keys: [n, D].
        k: at most n.
        without: [q] the key each query leaves out.
    """
    products = queries @ keys.T
    if without is not None:
        products[torch.arange(len(products)), without] = -torch.inf
    n = products.shape[1]
    top = products.topk(min(k + 1, n), dim=1)
    places = top.indices[:, :k].sort(dim=1).values
    if n > k:  # where the last place is tied, topk takes any of the equals
        tied = (top.values[:, k - 1] == top.values[:, k]).nonzero().flatten()
        for block in tied.split(64):
            places[block] = products[block].sort(dim=1, descending=True, stable=True).indices[:, :k].sort(dim=1).values
    found = products.gather(1, places)
    order = found.sort(dim=1, descending=True, stable=True)
    return places.gather(1, order.indices), order.values
