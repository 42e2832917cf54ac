"""xmodal's own image encoder, small enough to train from scratch on two CPU cores: a residual CNN for small images.

Input: PIL images, through a `PixelProcessor`. Output: pooled features [B, G]. Axes: B images, C channels, H height,
W width, G the last of the widths.
"""

from itertools import pairwise
from typing import Any, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.config.spec import Count, Positive, Share
from xmodal.config.tower import AnyHead
from xmodal.towers.frames import Frames, all_of
from xmodal.towers.heads import Linear
from xmodal.towers.image_processor import PixelProcessor
from xmodal.towers.kind import OwnTower

Norm = Literal["batch", "group"]


class ImageEncoder(nn.Module):
    """3x3 convolutions, each width at half the size of the one before, with a residual block; then mean plus maximum.

    Per width: h(x) = GELU(norm(maxpool(conv(x)))) halves the image; then, but for the first, x + f(f(x)) with
    f = GELU(norm(conv(x))). The features are the mean over what is left of the image plus its maximum. A 32x32 image
    takes 17 M multiplications; convolutions run channels last.

    Norm `batch` trains fastest; `group` (8 groups) is for small batches and for `train.chunk`. Dropout is on the pooled
    features.

    Args:
        spec: of the tower, or
        settings: those of the spec that matter here, by name.

    Example:
        ImageEncoder()({"pixels": torch.randn(2, 3, 32, 32)}).shape  # [2, 192]
    """

    def __init__(self, spec: "ImageEncoderTower.Spec | None" = None, **settings: Any):
        super().__init__()
        spec = ImageEncoderTower.Spec.given(spec, settings)
        widths, norm = spec.widths, spec.norm
        self.width = widths[-1]
        self.stem = Convolution(3, widths[0], norm, halve=True)
        self.stages = nn.ModuleList(Stage(a, b, norm) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(spec.dropout)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`pixels` [B, 3, H, W] -> [B, G]."""
        x = self._map(inputs)
        return self.dropout(x.mean((2, 3)) + x.amax((2, 3)))

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`pixels` [B, 3, H, W] -> the places of the last feature map, row by row."""
        return all_of(self._map(inputs).flatten(2).transpose(1, 2))

    def _map(self, inputs: dict[str, Tensor]) -> Tensor:
        x: Tensor = self.stem(inputs["pixels"].contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            x = stage(x)
        return x


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


class ImageEncoderTower(OwnTower):
    """xmodal's own image encoder: a small residual CNN for small images."""

    class Spec(OwnTower.Spec):
        """Settings of `ImageEncoder` and of the pixels it takes."""

        image_size: Count = 32  # pixels, height and width
        widths: tuple[Count, ...] = Field((24, 48, 96, 192), min_length=1)  # channels; halved in size once per width
        norm: Norm = "batch"
        dropout: Share = 0.0
        mean: tuple[float, float, float] = (0.4914, 0.4822, 0.4465)  # CIFAR-10's, of values in 0..1
        std: tuple[Positive, Positive, Positive] = (0.247, 0.2435, 0.2616)
        head: AnyHead = Linear.Spec()

        @model_validator(mode="after")
        def _groups(self) -> Self:
            if self.norm == "group" and any(width % 8 for width in self.widths):
                raise ValueError(
                    f"widths: {list(self.widths)}: norm group needs multiples of 8; change them, or take norm batch"
                )
            return self

    def make(self, spec: Spec) -> tuple[ImageEncoder, PixelProcessor]:
        """Backbone with random weights, and processor."""
        size = (spec.image_size, spec.image_size)
        processor = PixelProcessor(size, spec.mean, spec.std, interpolation="bicubic", resize="squash")
        return ImageEncoder(spec), processor
