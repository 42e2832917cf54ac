"""Image files and bytes to one form: RGB, upright, 8 bits a channel.

Input: a path, an address (`tar_address.py`: inside a tar, or a file without its border), or the file's bytes. Output: a
Pillow image. What cannot be used raises `ImageError` with the name and the reason.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xmodal.config.data import ImageModality, ModalitySpec
from xmodal.data.sources.tar_address import file_of, inset_of, member_of, read_member
from xmodal.errors import UserError

MOST_PIXELS: int = ImageModality.model_fields["max_pixels"].default
LARGEST_FILE = 512 * 2**20  # bytes
THINNEST = 200  # longer side over shorter: resized to a tower's height, a line of pixels would fill the memory
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # Pillow knows more, and starts Ghostscript for one

# Pillow warns of sizes, which are checked here, and of palettes with transparency. Set once: threads share the filters.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", message="Palette images with Transparency", module="PIL")
warnings.filterwarnings("ignore", module="PIL.TiffImagePlugin")


class ImageError(ValueError):
    """An image that cannot be used: which, and why."""


def most_pixels(spec: ModalitySpec) -> int:
    """Pixels of the largest image that a modality takes; of other modalities the default."""
    return spec.max_pixels if isinstance(spec, ImageModality) else MOST_PIXELS


def read_image(source: str | Path | bytes, root: Path | None = None, max_pixels: int = MOST_PIXELS) -> Image.Image:
    """Decode an image: turned as its EXIF says, RGB. Of an animation the first frame; transparency is dropped.

    Sixteen bits a channel are scaled to eight (Pillow alone would cut them off at 255).

    Args:
        source: a path, an address, or the bytes of a file.
        root: the folder that relative paths start from.
        max_pixels: an image with more is refused before it is decoded.

    Raises:
        ImageError: missing, empty, truncated, not an image of a known kind, too large, or a thin line.

    Example:
        image = read_image("photo.jpg")
    """
    name = f"{len(source)} bytes" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else _bytes(source, root)
    except (OSError, UserError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise ImageError(f"{name}: {reason}") from error
    if not data:
        raise ImageError(f"{name}: an empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise ImageError(
                    f"{name}: {image.width} x {image.height} pixels, more than max_pixels ({max_pixels:,})"
                )
            return _inside(upright(image), inset_of(name))
    except UnidentifiedImageError:
        raise ImageError(f"{name}: no image, or of a kind that is not read ({', '.join(FORMATS)} are)") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error}") from error
    except ImageError:
        raise
    except Exception as error:  # of a damaged file Pillow's plugins raise what they please, struct.error among others
        raise ImageError(f"{name}: cannot be decoded ({error or type(error).__name__})") from error


def upright(image: Image.Image) -> Image.Image:
    """A Pillow image of any mode as `read_image` gives it: turned as its EXIF says, RGB, 8 bits a channel.

    Raises:
        ValueError: pixels outside 0 to 65535; one side over 200 times the other.

    Example:
        upright(Image.open("photo.jpg"))
    """
    if max(image.size) > THINNEST * min(image.size):
        raise ValueError(f"{image.width} x {image.height} pixels, one side over {THINNEST} times the other")
    return _rgb(ImageOps.exif_transpose(image))


def _bytes(source: str | Path, root: Path | None) -> bytes:
    if member_of(str(source)):
        return read_member(root or Path(), str(source))
    path = Path(root or "", file_of(str(source)))
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path.stat().st_size:,} bytes, more than {LARGEST_FILE:,}")
    return path.read_bytes()


def _inside(image: Image.Image, inset: int) -> Image.Image:
    """The image without `inset` pixels on every side."""
    if 2 * inset >= min(image.size):
        raise ValueError(f"{image.width} x {image.height} pixels, too small to lose {inset} on every side")
    return image.crop((inset, inset, image.width - inset, image.height - inset)) if inset else image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers; expected 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.max(initial=0) > 65535 or values.min(initial=0) < 0:
            raise ValueError(f"{image.mode} pixels outside 0 to 65535")
        if image.mode == "I" and values.max(initial=0) <= 255:  # 8 bits in 32
            return Image.fromarray(values.astype(np.uint8)).convert("RGB")
        return Image.fromarray((values.astype(np.float64) / 257).round().astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
