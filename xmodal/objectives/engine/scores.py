"""How two embeddings are scored: cosine, dot product, bilinear form, or negative Euclidean distance.

Axes: N items of the batch, n and m some of them, D embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from xmodal.batch import Embeddings
from xmodal.objectives.engine.comparisons import pair_of
from xmodal.objectives.engine.tiles import sum_type

Score = Literal["cosine", "dot", "bilinear", "euclidean"]


class Scores(nn.Module):
    """`cosine` a.k and `bilinear` a^T M k of unit-norm embeddings; `dot` a.k and `euclidean` -|a - k| of those before
    normalisation.

    M [D, D] is learned, one for each group of sides, and starts as the identity: as the cosine.

    Example:
        scores = Scores("dot")
        a, k = scores.embedded(embeddings, "speech", "text")
        scores.block(a, k)  # [N, N]
    """

    def __init__(self, score: Score) -> None:
        super().__init__()
        self.score = score
        self.maps = nn.ParameterDict()

    def prepare(self, groups: Sequence[tuple[str, ...]], dims: Mapping[str, int]) -> None:
        """Make the M of every group of sides."""
        for sides in groups if self.score == "bilinear" else ():
            self.maps["-".join(sides)] = nn.Parameter(torch.eye(dims[sides[0]]))

    def embedded(self, embeddings: Embeddings, *sides: str) -> tuple[Tensor, Tensor]:
        """What is scored, [N, D] each, fp32 or float64: of two sides, or of the two views of one."""
        take = embeddings.raw if self.score in ("dot", "euclidean") else embeddings.z
        a, k = (take(side, view) for side, view in pair_of(sides))
        dtype = sum_type(a, k)
        a, k = a.to(dtype), k.to(dtype)
        if self.score == "bilinear":
            name = "-".join(sides)
            if name not in self.maps:  # where nothing was prepared
                self.maps[name] = nn.Parameter(torch.eye(a.shape[1], device=a.device, dtype=dtype))
            a = a @ self.maps[name].to(dtype)
        return a, k

    def block(self, a: Tensor, k: Tensor) -> Tensor:
        """The scores of a [n, D] against k [m, D]: [n, m]."""
        if self.score != "euclidean":
            return a @ k.T
        centre = k.detach().mean(0)  # distances know no origin, and far from it their squares would cancel
        a, k = a - centre, k - centre
        sizes = (a * a).sum(1)[:, None] + (k * k).sum(1)
        return -root(sizes - 2 * a @ k.T, sizes.detach())

    def pairs(self, a: Tensor, k: Tensor) -> Tensor:
        """The scores of each row of a [n, D] with its own row of k [n, D]: [n]."""
        if self.score != "euclidean":
            return (a * k).sum(1)
        sizes = (a * a).sum(1) + (k * k).sum(1)
        return -root((a - k).square().sum(1), sizes.detach() * torch.finfo(sizes.dtype).eps)  # nothing cancels


def root(squares: Tensor, sizes: Tensor | float = 1.0) -> Tensor:
    """Square roots whose gradient is 0 where there is no distance, or none that rounding would leave.

    `sizes`: of the numbers whose differences the squares are.
    """
    far = squares > 8 * torch.finfo(squares.dtype).eps * sizes
    return torch.where(far, torch.where(far, squares, 1).sqrt(), 0)


def squared_distances(a: Tensor, k: Tensor) -> Tensor:
    """|a_i - k_j|^2 [..., n, m] of unit-norm rows: 2 - 2 a.k."""
    return (2 - 2 * a @ k.mT).clamp(min=0)
