"""The newest K embeddings, with the ids of their items: negatives that cost no forward pass. An exact ring.

Axes: K places, D embedding, n rows pushed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xmodal.batch import Embeddings


class Queue(nn.Module):
    """A ring of the newest `size` rows, each with the ids of its item in `sides` sides.

    A batch that wraps around its end loses nothing but the oldest.

    A kind of objective that has one calls its size `queue` in its spec: a run then refuses one that is smaller than a
    batch, and notes one that is larger than the data. It is a part of a module's state, so checkpoints hold it. Pushing
    gathered rows keeps it the same on all processes.

    Example:
        queue = Queue(4096, 384, sides=1)
        queue.push(z, item_ids(embeddings, ["text"]))
        queue.rows(), queue.ids()   # oldest first
    """

    held: Tensor
    names: Tensor
    state: Tensor

    def __init__(self, size: int, dim: int, sides: int = 1) -> None:
        super().__init__()
        self.register_buffer("held", torch.zeros(size, dim))
        self.register_buffer("names", torch.zeros(size, sides, dtype=torch.int64))
        self.register_buffer("state", torch.zeros(2, dtype=torch.int64))  # where the next row goes, rows held

    def __len__(self) -> int:
        return int(self.state[1])

    def rows(self) -> Tensor:
        """[len, D], oldest first."""
        return self.held[self._order()]

    def ids(self) -> Tensor:
        """[len, sides] int64, of the rows' items."""
        return self.names[self._order()]

    @torch.no_grad()
    def push(self, rows: Tensor, ids: Tensor) -> None:
        """Put rows [n, D] with their items' ids [n, sides] in, in order, over the oldest."""
        size = len(self.held)
        rows, ids = rows[-size:], ids[-size:]
        at = (int(self.state[0]) + torch.arange(len(rows), device=self.held.device)) % size
        self.held[at] = rows.detach().to(self.held)
        self.names[at] = ids.to(self.names)
        self.state[0] = (int(self.state[0]) + len(rows)) % size
        self.state[1] = min(size, len(self) + len(rows))

    def _order(self) -> Tensor:
        size, filled = len(self.held), len(self)
        start = int(self.state[0]) - filled
        return (start + torch.arange(filled, device=self.held.device)) % size


def item_ids(embeddings: Embeddings, sides: Sequence[str]) -> Tensor:
    """[N, sides]: the ids of each pair's items."""
    return torch.stack([embeddings.item_ids[side] for side in sides], dim=1)
