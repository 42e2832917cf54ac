"""MetAug's generator of augmented features (2203.05119): an MLP with batch norm, whose output is unit norm."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5  # torch's


class BatchStatistics(nn.Module):
    """Batch norm by the statistics of the batch it is given, in evaluation too: it keeps none, and one row is no error.

    Args:
        width: of its input and output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """[N, width] -> the same; can be differentiated as often as one likes."""
        centred = x - x.mean(0)
        return centred * (centred.square().mean(0) + EPS).rsqrt() * self.weight + self.bias


class Generator(nn.Sequential):
    """D -> hidden -> hidden -> D with batch norm and ReLU, then unit norm.

    Given the gathered batch it has the batch's statistics, however many processes share it.

    Args:
        dim: D.
        hidden: width of the two inner layers.

    Example:
        Generator(384, 2048)(z)  # [N, 384], unit norm
    """

    def __init__(self, dim: int, hidden: int) -> None:
        inner = [
            layer for size in (dim, hidden) for layer in (nn.Linear(size, hidden), BatchStatistics(hidden), nn.ReLU())
        ]
        super().__init__(*inner, nn.Linear(hidden, dim))

    def forward(self, z: Tensor) -> Tensor:
        """[N, D], unit norm -> the augmented features [N, D], unit norm, in z's type."""
        weight = next(self.parameters())
        return F.normalize(super().forward(z.to(weight.dtype)).to(z.dtype), dim=1)
