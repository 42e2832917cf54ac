"""Augmented views of an image, training only: crop, RandAugment, colour and sharpness, shift, mirror.

Input: an image and what a tower takes. Output: uint8 [3, H, W]. Every number comes from the generator given, so that a
view is a pure function of (seed, epoch, row). Crops: Szegedy et al. 2015 (1409.4842); RandAugment: Cubuk et al. 2020
(1909.13719), torchvision's.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xmodal.config.augment.image import ImageAugment
from xmodal.data.views.colour import recoloured
from xmodal.processor import ImageProcessor

TRIES = 10  # at a crop that fits into the image, before the largest centred one is taken


def augment_image(
    image: Callable[[], Image.Image],
    evaluation: Callable[[], np.ndarray],
    processor: ImageProcessor,
    spec: ImageAugment,
    rng: np.random.Generator,
) -> np.ndarray:
    """One view [3, H, W] uint8.

    Args:
        image: gives the whole image; asked for by random resized crops alone.
        evaluation: gives the evaluation view, which the others start from (it may be cached).
        processor: of the tower.
        spec: what to do.
        rng: draws every random number.
    """
    if spec.crop_scale is not None:
        view = _resized_crop(image(), processor, spec, rng)
    else:
        view = torch.from_numpy(np.ascontiguousarray(evaluation()))
    if spec.rand_augment:
        from torchvision.transforms import v2  # late: half a second that only this needs

        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
            torch.default_generator.manual_seed(int(rng.integers(2**63)))  # the CPU's alone: the GPUs' goes on
            view = v2.RandAugment(spec.rand_augment, spec.magnitude)(view)
    if spec.recolours:
        view = recoloured(view, spec, rng)
    out = view.numpy()
    if spec.pad:
        out = _shifted(out, spec.pad, rng)
    if spec.flip and rng.random() < spec.flip:
        out = out[:, :, ::-1]
    return np.ascontiguousarray(out)


def _resized_crop(
    image: Image.Image, processor: ImageProcessor, spec: ImageAugment, rng: np.random.Generator
) -> Tensor:
    assert spec.crop_scale is not None
    top, left, height, width = crop_box(image.height, image.width, spec.crop_scale, spec.crop_ratio, rng)
    cut = image.crop((left, top, left + width, top + height))
    scaled = cut.resize(processor.size[::-1], Image.Resampling[processor.interpolation.upper()])
    return torch.from_numpy(np.array(scaled)).permute(2, 0, 1)


def crop_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a crop: a uniform share of the area, a log-uniform ratio of width to height.

    Example:
        crop_box(100, 80, (0.5, 1.0), (0.75, 1.3333), np.random.default_rng(0))
    """
    for _ in range(TRIES):
        area = height * width * rng.uniform(*scale)
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        h, w = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
        if 0 < h <= height and 0 < w <= width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    shape = min(max(width / height, ratio[0]), ratio[1])
    h, w = min(height, max(1, round(width / shape))), min(width, max(1, round(height * shape)))
    return (height - h) // 2, (width - w) // 2, h, w


def _shifted(view: np.ndarray, pad: int, rng: np.random.Generator) -> np.ndarray:
    padded = np.pad(view, ((0, 0), (pad, pad), (pad, pad)))
    down, right = rng.integers(2 * pad + 1, size=2)
    return padded[:, down : down + view.shape[1], right : right + view.shape[2]]
