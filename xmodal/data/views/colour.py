"""Colour jitter, grayscale and Gaussian blur of an image, by torchvision's operations.

Input and output: uint8 [3, H, W]. As in SimCLR (2002.05709, appendix A): jitter, grayscale, blur, each with its
probability; the four parts of the jitter in a random order.

MixStyle (2104.02008) is not here. It mixes the channel statistics of feature maps inside a network, each item's with
those of another one of its batch; a view is a function of (seed, epoch, row, side, view), and may not depend on who
else is in the batch.
"""

import numpy as np
from torch import Tensor

from xmodal.config.augment.image import ImageAugment

KERNEL = 0.1  # of the shorter side, the width of the blur's kernel (SimCLR)


def recoloured(image: Tensor, spec: ImageAugment, rng: np.random.Generator) -> Tensor:
    """A view [3, H, W] uint8 of `image`, which stays as it is.

    - brightness, contrast, saturation a: by a factor uniform in [max(0, 1 - a), 1 + a] (an amount of 0 draws nothing)
    - hue h: turned by a part of the circle uniform in [-h, h]
    - grayscale: all three channels are 0.2989 R + 0.587 G + 0.114 B
    - blur: the standard deviation is uniform in `blur_sigma`, the kernel a tenth of the shorter side wide

    Example:
        recoloured(image, ImageAugment(jitter=0.8, grayscale=0.2, blur=0.5), np.random.default_rng(0))
    """
    from torchvision.transforms.v2 import functional  # late: half a second that only this needs

    if spec.jitter and rng.random() < spec.jitter:
        for change, amount in jitter_of(spec, rng):
            image = getattr(functional, f"adjust_{change}")(image, amount)
    if spec.grayscale and rng.random() < spec.grayscale:
        image = functional.rgb_to_grayscale(image, num_output_channels=3)
    if spec.blur and rng.random() < spec.blur:
        size = kernel_of(image.shape[1], image.shape[2])
        image = functional.gaussian_blur(image, [size, size], [float(rng.uniform(*spec.blur_sigma))])
    return image


def jitter_of(spec: ImageAugment, rng: np.random.Generator) -> list[tuple[str, float]]:
    """What a colour jitter changes, in its order: brightness, contrast and saturation by a factor, hue by a part.

    Example:
        jitter_of(ImageAugment(jitter=1.0), np.random.default_rng(0))  # [("hue", 0.02), ("contrast", 1.3), ...]
    """
    found = []
    for name in ("brightness", "contrast", "saturation"):
        most = getattr(spec, name)
        if most:
            found.append((name, float(rng.uniform(max(0.0, 1 - most), 1 + most))))
    if spec.hue:
        found.append(("hue", float(rng.uniform(-spec.hue, spec.hue))))
    return [found[at] for at in rng.permutation(len(found))]


def kernel_of(height: int, width: int) -> int:
    """The blur's kernel, in pixels: the odd number nearest to a tenth of the shorter side, at least 3.

    Example:
        kernel_of(224, 224)  # 23
    """
    return max(3, 2 * round((KERNEL * min(height, width) - 1) / 2) + 1)
