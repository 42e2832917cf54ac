"""Who predicts whom: the directions between two views of one side, or between two sides, and what BYOL's kin share.

Axes: N gathered batch, n this process's rows, D embedding.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from xmodal.batch import Embeddings, Loss
from xmodal.distributed import all_sum, world_size
from xmodal.objectives.engine.comparisons import PairOrViews
from xmodal.objectives.engine.tiles import sum_type
from xmodal.objectives.objective import Need

View = tuple[str, int]  # a side, and which of its views


def directions(sides: Sequence[str], symmetric: bool) -> list[tuple[View, View]]:
    """(query, key) of each direction: of one side its first view and the second, of two the first side and the other.

    Example:
        directions(["image"], symmetric=True)  # [(("image", 0), ("image", 1)), (("image", 1), ("image", 0))]
    """
    query, key = ((sides[0], 0), (sides[0], 1)) if len(sides) == 1 else ((sides[0], 0), (sides[1], 0))
    return [(query, key)] + [(key, query)] * symmetric


class PredictiveSpec(PairOrViews):
    """Settings of objectives whose queries are predictions: which directions, and how they are added up."""

    symmetric: bool | None = None  # both directions; left out: of one side's views yes, of two sides no
    reduction: Literal["mean", "sum"] = "sum"  # over the directions
    keys: ClassVar[Literal["target", "z"]] = "target"  # z: the tower itself

    def directions(self, *sides: str) -> list[tuple[View, View]]:
        """(query, key) of each direction between these sides."""
        return directions(sides, len(sides) == 1 if self.symmetric is None else self.symmetric)

    def needs(self, *sides: str) -> Sequence[Need]:
        """A predictor of every query's side, a target of every key's, and two views where there is one side."""
        found = [*super().needs(*sides)]
        for (query, _), (key, _) in self.directions(*sides):
            found += [Need("target", key)] * (self.keys == "target") + [Need("predicted", query)]
        return list(dict.fromkeys(found))


def predicted_and_key(embeddings: Embeddings, query: View, key: View, keys: str) -> tuple[Tensor, Tensor]:
    """A direction's predictions of own rows [n, D], with gradient, and its keys [N, D], without; both unit norm.

    In fp32, or float64 where one of them is. `keys`: "target", or "z" for the tower itself.
    """
    p, k = embeddings.predicted(*query), embeddings.target(*key) if keys == "target" else embeddings.z(*key)
    dtype = sum_type(p, k)
    return F.normalize(p[embeddings.local].to(dtype), dim=1), k.detach().to(dtype)


def predictive_loss(embeddings: Embeddings, pairs: Sequence[tuple[Tensor, Tensor]], reduction: str) -> Loss:
    """The loss of some directions, each given as the sum over own anchors and its keys [N, D], unit norm.

    parts: `loss`; `spread`, how far the keys are from having collapsed: sqrt(D) times the mean over dimensions of
    their standard deviation over the batch (SimSiam, section 4.1): 0 where all are alike, 1 where they fill the sphere.
    """
    value = torch.stack([share for share, _ in pairs]).sum() / max(len(embeddings), 1)
    value = value / len(pairs) if reduction == "mean" else value
    with torch.no_grad():
        spreads = [keys.std(0, correction=0).mean() * keys.shape[1] ** 0.5 for _, keys in pairs]
        parts = {"loss": all_sum(value.detach().reshape(1))[0], "spread": torch.stack(spreads).mean()}
    return Loss(value * world_size(), parts)


def cosine_loss(
    embeddings: Embeddings, sides: Sequence[str], spec: PredictiveSpec, distance: Callable[[Tensor], Tensor]
) -> Loss:
    """The mean over items of `distance(cos(prediction, key))`, summed or averaged over the directions."""
    pairs = []
    for query, key in spec.directions(*sides):
        p, k = predicted_and_key(embeddings, query, key, spec.keys)
        pairs.append((distance((p * k[embeddings.local]).sum(1)).sum(), k))
    return predictive_loss(embeddings, pairs, spec.reduction)
