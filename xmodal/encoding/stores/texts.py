"""Texts whose features a store holds are not encoded again."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from xmodal.store import content_id
from xmodal.towers.kinds.store import StoreProcessor
from xmodal.towers.tower import Tower


def embed_texts(
    tower: Tower,
    store: StoreProcessor,
    texts: list[str],
    device: torch.device,
    embed: Callable[[list[str]], Tensor],
) -> Tensor:
    """z [N, D] of texts: through the tower's head from the store's rows where it has them, else from `embed`."""
    ids = np.array([content_id(text) for text in texts], dtype=np.int64)
    known = store.store.contains(ids)
    z = torch.empty(len(texts), tower.dim)
    if known.any():
        rows = store.collate(list(ids[known]))["rows"].to(device)
        with torch.inference_mode():
            z[torch.from_numpy(known)] = tower.project(rows).z.float().cpu()
    if not known.all():
        z[torch.from_numpy(~known)] = embed([t for t, k in zip(texts, known, strict=True) if not k])
    return z
