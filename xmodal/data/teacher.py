"""A side's teacher in training: embeddings of a frozen tower, read from its store by item id.

Axes: B items of a batch, D embedding of the teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xmodal.data.items import Items
from xmodal.data.tally import Counted, Tally
from xmodal.store import EmbeddingStore


@dataclass(frozen=True)
class Teacher:
    """The store of one side's teacher; it holds vectors, in one view."""

    side: str
    store: EmbeddingStore

    def scan(self, items: Items, tally: Tally) -> dict[int, str]:
        """Rows with an item that the store does not hold, with the reason; what the teacher cuts goes into `tally`."""
        for each in self.store.info.get("cut", ()):
            examples = [(name, f"the teacher of {self.side}: {why}") for name, why in each["examples"]]
            tally.cut[f"teacher of {self.side}: {each['reason']}"] = Counted(each["count"], examples)
        lacking = items.rows_lacking(self.store.contains(items.ids))
        told = f"{self.side}: not in the teacher's store, it could not be read when that was made"
        return dict.fromkeys(lacking, told)

    def embeddings(self, ids: Sequence[int]) -> Tensor:
        """[B, D] float32 of these items, as the teacher gives them: not normalised.

        Raises:
            UserError: an id the store does not hold.
        """
        return torch.from_numpy(self.store.rows(np.asarray(ids, dtype=np.int64)))
