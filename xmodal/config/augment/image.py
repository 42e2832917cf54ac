"""Augmentation of images."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from xmodal.config.augment.amounts import Augment
from xmodal.config.spec import Positive, Share


class ImageAugment(Augment):
    """Augmentation of images, training only (see `xmodal/data/views/image.py`). Off unless set.

    `flip` is off by default: captions speak of left and right. The strengths of `jitter` are MoCo v2's (2003.04297),
    and SimCLR's at strength 0.5 (2002.05709, appendix A); the widths of `blur` are SimCLR's.
    """

    later: ClassVar[frozenset[str]] = frozenset(
        {"jitter", "brightness", "contrast", "saturation", "hue", "grayscale", "blur", "blur_sigma"}
    )

    crop_scale: tuple[Positive, Positive] | None = None  # random resized crop: share of the area, least and most
    crop_ratio: tuple[Positive, Positive] = (0.75, 1.3333)  # of the crop, width / height
    pad: int = Field(0, ge=0)  # pixels of zeros around the image before a random crop back to its size
    flip: Share = 0.0  # probability of mirroring left and right
    rand_augment: int = Field(0, ge=0)  # operations per image (torchvision's RandAugment)
    magnitude: int = Field(9, ge=0, le=30)  # of them
    jitter: Share = 0.0  # probability of colour jitter, all four in a random order
    brightness: float = Field(0.4, ge=0)  # its largest relative change
    contrast: float = Field(0.4, ge=0)
    saturation: float = Field(0.4, ge=0)
    hue: float = Field(0.1, ge=0, le=0.5)  # largest shift, of the whole circle
    grayscale: Share = 0.0  # probability
    blur: Share = 0.0  # probability of a Gaussian blur
    blur_sigma: tuple[Positive, Positive] = (0.1, 2.0)  # pixels, its standard deviation, least and most

    @property
    def is_active(self) -> bool:
        """Does this change anything?"""
        placed = (self.crop_scale is not None, self.pad, self.flip, self.rand_augment)
        return any(placed) or self.recolours

    @property
    def recolours(self) -> bool:
        """Is colour or sharpness changed?"""
        jittered = self.jitter and any((self.brightness, self.contrast, self.saturation, self.hue))
        return bool(jittered or self.grayscale or self.blur)

    @model_validator(mode="after")
    def _crop(self) -> Self:
        if self.crop_scale is not None and not self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale {list(self.crop_scale)}: expected [least, most] with least <= most <= 1")
        for name in ("crop_ratio", "blur_sigma"):
            least, most = getattr(self, name)
            if least > most:
                raise ValueError(f"{name} {[least, most]}: expected [least, most]")
        return self
