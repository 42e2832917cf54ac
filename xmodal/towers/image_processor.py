"""Images as a tower takes them: resized and cropped exactly as the library that trained the tower does it.

Input: PIL images in RGB. Output: pixels. Axes: B images, H height, W width.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xmodal.processor import ImageProcessor

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Resize = Literal["shortest", "longest", "squash"]
Triple = tuple[float, float, float]


class PixelProcessor(ImageProcessor):
    """Image -> uint8 [3, H, W] -> (x / 255 - mean) / std. Equal to torchvision's, open_clip's and timm's on PIL images.

    Args:
        size: (H, W) the tower takes: what is larger after resizing is cropped at the centre, what is smaller padded.
        mean, std: per channel, of values in 0..1.
        interpolation: of the resizing.
        resize: `shortest`: no side shorter than `scale`; `longest`: none longer; `squash`: to `scale`, whatever the
            image's shape.
        scale: (height, width) resized to; default `size`. timm scales to `size` / crop_pct, then crops.
        fill: colour of the padding.
        offset: where half a pixel of the crop's corner goes: `even` (torchvision) or `down` (transformers).

    Example:
        processor = PixelProcessor((224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        processor.collate([processor.features(image)])["pixels"].shape  # [1, 3, 224, 224]
    """

    kind: Literal["image"] = "image"

    def __init__(
        self,
        size: tuple[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: Interpolation = "bicubic",
        resize: Resize = "shortest",
        scale: tuple[int, int] | None = None,
        fill: Sequence[int] = (0, 0, 0),
        offset: Literal["even", "down"] = "even",
    ):
        self.size = size
        self.interpolation: str = interpolation
        self.resize = resize
        self.scale = scale or size
        self.fill = fill
        self.offset = offset
        self.mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(std, dtype=torch.float32)[:, None, None]
        self._settings = {
            "kind": "image", "size": list(size), "mean": list(mean), "std": list(std), "interpolation": interpolation,
            "resize": resize, "scale": list(self.scale), "fill": list(fill), "offset": offset,
        }  # fmt: skip

    def features(self, item: Image.Image) -> np.ndarray:
        """One image in RGB -> uint8 [3, H, W]."""
        height, width = resized_size((item.height, item.width), self.resize, self.scale)
        if (height, width) != (item.height, item.width):
            item = item.resize((width, height), Image.Resampling[self.interpolation.upper()])
        pixels = centred(np.asarray(item), self.size, self.fill, self.offset)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"pixels": [B, 3, H, W] float32}`."""
        pixels = torch.from_numpy(np.stack(features)).to(torch.float32)
        return {"pixels": pixels.div_(255).sub_(self.mean).div_(self.std)}

    def describe(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._settings)


def resized_size(size: tuple[int, int], resize: Resize, scale: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of an image after resizing, rounded as the libraries round.

    A square `scale` for the shortest side cuts off (torchvision's Resize), everything else rounds (timm's
    ResizeKeepRatio).

    Example:
        resized_size((480, 640), "shortest", (224, 224))  # (224, 298)
    """
    if resize == "squash":
        return scale
    height, width = size
    if resize == "shortest" and scale[0] == scale[1]:
        if height <= width:
            return scale[0], int(scale[0] * width / height)
        return int(scale[0] * height / width), scale[0]
    ratios = height / scale[0], width / scale[1]
    ratio = max(ratios) if resize == "longest" else min(ratios)
    return max(1, round(height / ratio)), max(1, round(width / ratio))


def centred(
    pixels: np.ndarray, size: tuple[int, int], fill: Sequence[int], offset: Literal["even", "down"]
) -> np.ndarray:
    """[h, w, 3] -> [H, W, 3]: padded with `fill` where it is smaller than `size`, then cropped at the centre."""
    missing = [max(0, wanted - found) for wanted, found in zip(size, pixels.shape[:2], strict=True)]
    if any(missing):
        before = [part // 2 for part in missing]
        padded = np.empty((pixels.shape[0] + missing[0], pixels.shape[1] + missing[1], 3), pixels.dtype)
        padded[:] = np.asarray(fill, pixels.dtype)
        padded[before[0] : before[0] + pixels.shape[0], before[1] : before[1] + pixels.shape[1]] = pixels
        pixels = padded
    spare = [found - wanted for wanted, found in zip(size, pixels.shape[:2], strict=True)]
    top, left = (round(part / 2) if offset == "even" else part // 2 for part in spare)
    return pixels[top : top + size[0], left : left + size[1]]
