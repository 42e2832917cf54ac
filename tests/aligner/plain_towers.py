"""Towers over plain vectors, and a batch in which two recordings are of one sentence."""

import numpy as np
import torch
from torch import nn

from xmodal.batch import PairBatch

N, D = 11, 6


class Plain(nn.Module):
    """A small backbone over vectors."""

    def __init__(self, size: int, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.width = 5
        self.layers = nn.Sequential(nn.Linear(size, 5), norm or nn.Identity(), nn.Tanh())

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.layers(inputs["x"])


class Locked(nn.Module):
    """The identity over vectors."""

    width = D

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return inputs["x"]


class NoHead(nn.Identity):
    dim = D


def batch(rows: slice = slice(None)) -> PairBatch:
    rng = np.random.default_rng(1)
    x, y = torch.from_numpy(rng.standard_normal((N, 7))), torch.from_numpy(rng.standard_normal((N, D)))
    y[4] = y[2]  # two recordings of one sentence
    ids = torch.arange(N)
    texts = ids.clone()
    texts[4] = texts[2]
    return PairBatch(
        inputs={"speech": {"x": x[rows]}, "text": {"x": y[rows]}},
        ids=ids[rows],
        item_ids={"speech": ids[rows], "text": texts[rows]},
    )
