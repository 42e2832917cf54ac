"""Numbers kept by id, for ids that are not known before: a table that grows as they are met.

Input and output: ids [n] int64 and a row of C numbers for each. The ids are sorted, so a look-up is a binary search and
new ids are merged in O(R) for R rows held. It is part of a module's state: checkpoints hold it, at the size it has.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class IdTable(nn.Module):
    """C numbers for every id that was put in. The same rows put on every process keep it alike everywhere.

    Example:
        table = IdTable(2)
        table.put(ids, values)
        values, known = table.get(ids)   # [n, 2], [n] bool
    """

    grows: ClassVar[tuple[str, ...]] = ("ids", "values")  # their first size is what was saved, whatever is built
    ids: Tensor
    values: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("ids", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(0, columns))

    def __len__(self) -> int:
        return len(self.ids)

    def get(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(values [n, C], zeros where the id was never put; known [n])."""
        if not len(self):
            return self.values.new_zeros(len(ids), self.values.shape[1]), torch.zeros_like(ids, dtype=torch.bool)
        at = torch.searchsorted(self.ids, ids).clamp_(max=len(self) - 1)
        known = self.ids[at] == ids
        return self.values[at] * known.unsqueeze(1), known

    @torch.no_grad()
    def put(self, ids: Tensor, values: Tensor) -> None:
        """Write rows [n, C], over those that their ids had; of an id that is there twice the later one."""
        unique, inverse = torch.unique(ids, return_inverse=True)  # sorted
        last = torch.zeros_like(unique).scatter_reduce_(0, inverse, torch.arange(len(ids), device=ids.device), "amax")
        values = values.to(self.values)[last]
        known = self.get(unique)[1]
        self.values[torch.searchsorted(self.ids, unique[known])] = values[known]
        self._merge(unique[~known], values[~known])

    def _merge(self, ids: Tensor, values: Tensor) -> None:
        """Add sorted ids, none of which is there."""
        if not len(ids):
            return
        at = torch.searchsorted(self.ids, ids) + torch.arange(len(ids), device=ids.device)
        held = torch.ones(len(self) + len(ids), dtype=torch.bool, device=ids.device)
        held[at] = False
        all_ids, all_values = self.ids.new_empty(len(held)), self.values.new_empty(len(held), values.shape[1])
        all_ids[at], all_ids[held] = ids, self.ids
        all_values[at], all_values[held] = values, self.values
        self.ids, self.values = all_ids, all_values

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take the size of what was saved."""
        for name in self.grows:
            saved = state_dict.get(prefix + name)
            if saved is not None:
                held: Tensor = getattr(self, name)
                setattr(self, name, held.new_empty(len(saved), *held.shape[1:]))
        super()._load_from_state_dict(state_dict, prefix, *rest)
