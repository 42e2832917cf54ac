"""xmodal's own image encoder, small enough to train from scratch on two CPU cores: a residual CNN for small images.

Enters: PIL images, through an `ImageProcessor`. Leaves: pooled features [B, G]. Axes: B images, C channels, H height,
W width, G the last of the widths.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.config.towers import ImageEncoderTower, Norm
from xmodal.errors import UserError
from xmodal.towers.image_processor import ImageProcessor
from xmodal.towers.weights import take_weights


class ImageEncoder(nn.Module):
    """3x3 convolutions, each width at half the size of the one before, with a residual block; then mean plus maximum.

    Per width: h(x) = GELU(norm(maxpool(conv(x)))) halves the image; then, but for the first, x + f(f(x)) with
    f = GELU(norm(conv(x))). The features are the mean over what is left of the image plus its maximum. A 32x32 image
    takes 17 M multiplications; convolutions run channels last.

    Args:
        widths: channels, one per halving; the last is G.
        norm: `batch` trains fastest; `group` (8 groups) for small batches and for `train.chunk`.
        dropout: share of the pooled features dropped in training.

    Example:
        ImageEncoder()({"pixels": torch.randn(2, 3, 32, 32)}).shape  # [2, 192]
    """

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 192), norm: Norm = "batch", dropout: float = 0.0):
        super().__init__()
        self.width = widths[-1]
        self.stem = Convolution(3, widths[0], norm, halve=True)
        self.stages = nn.ModuleList(Stage(a, b, norm) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`pixels` [B, 3, H, W] -> [B, G]."""
        x = self.stem(inputs["pixels"].contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            x = stage(x)
        return self.dropout(x.mean((2, 3)) + x.amax((2, 3)))


class Convolution(nn.Module):
    """GELU(norm(conv3x3(x))), with a 2x2 maximum after the convolution where `halve`.

    Args:
        before, after: channels.
        norm: as above.
        halve: [B, before, H, W] -> [B, after, H/2, W/2], odd sizes rounded up.
    """

    def __init__(self, before: int, after: int, norm: Norm, halve: bool = False):
        super().__init__()
        self.halve = halve
        self.convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(after) if norm == "batch" else nn.GroupNorm(8, after)

    def forward(self, x: Tensor) -> Tensor:
        """[B, before, H, W] -> [B, after, H, W]."""
        x = self.convolution(x)
        if self.halve:
            x = F.max_pool2d(x, 2, ceil_mode=True)
        return F.gelu(self.norm(x))


class Stage(nn.Module):
    """A halving convolution and a residual block of two."""

    def __init__(self, before: int, after: int, norm: Norm):
        super().__init__()
        self.enter = Convolution(before, after, norm, halve=True)
        self.block = nn.Sequential(Convolution(after, after, norm), Convolution(after, after, norm))

    def forward(self, x: Tensor) -> Tensor:
        """[B, before, H, W] -> [B, after, H/2, W/2]."""
        x = self.enter(x)
        return cast(Tensor, x + self.block(x))


def load(spec: ImageEncoderTower) -> tuple[ImageEncoder, ImageProcessor]:
    """Backbone and processor of a spec; modes locked and unlocked take their weights over from `spec.weights`.

    Raises:
        UserError: no widths or ones that group normalisation cannot divide, or no such weights (see `take_weights`).
    """
    if not spec.widths:
        raise UserError("widths: found none, expected at least one, as in [24, 48, 96, 192]")
    if spec.norm == "group" and any(width % 8 for width in spec.widths):
        raise UserError(
            f"widths: {list(spec.widths)}: norm group needs multiples of 8; change them, or take norm batch"
        )
    size = (spec.image_size, spec.image_size)
    processor = ImageProcessor(size, spec.mean, spec.std, interpolation="bicubic", resize="squash")
    backbone = ImageEncoder(spec.widths, spec.norm, spec.dropout)
    if spec.weights is not None:
        take_weights(backbone, spec.weights)
    return backbone, processor
