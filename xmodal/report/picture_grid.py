"""A grid of pictures with a line under each. Input: Pillow images and texts. Output: PNG bytes."""

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from xmodal.report.style import INK, drawn

_COLUMNS = 6
_DPI = 110


def picture_grid(pictures: Sequence[tuple[Image.Image, str]], title: str) -> bytes:
    """The pictures row by row, six to a row, each with its text under it.

    Raises ValueError where there are none.

    Example:
        picture_grid([(image, "cat taken for dog")], "Errors")
    """
    if not pictures:
        raise ValueError("no pictures")
    rows = math.ceil(len(pictures) / _COLUMNS)
    figure = Figure(figsize=(1.65 * _COLUMNS, 2.15 * rows + 0.5), layout="constrained")
    cells = np.atleast_1d(figure.subplots(rows, _COLUMNS)).reshape(-1)
    for cell in cells:
        cell.axis("off")
    for cell, (picture, text) in zip(cells, pictures, strict=False):
        cell.imshow(
            np.asarray(picture.convert("RGB")), interpolation="nearest" if max(picture.size) < 64 else "antialiased"
        )
        under = {"transform": cell.transAxes, "va": "top", "ha": "center"}
        cell.text(0.5, -0.04, text, fontsize=7.5, color=INK, parse_math=False, **under)
    figure.suptitle(title, fontsize=11, color=INK)
    buffer = io.BytesIO()
    drawn(figure, _DPI).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
