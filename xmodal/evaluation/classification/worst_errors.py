"""The errors a classifier was surest of. Input: predictions, and where the images are. Output: PNG bytes."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from xmodal.data.image import ImageError, read_image
from xmodal.report.picture_grid import picture_grid

SHOWN = 18
SIDE = 160  # pixels


def worst_errors(predictions: pd.DataFrame, sources: Sequence[str | Path | bytes]) -> bytes | None:
    """The wrong answers with the highest scores, best first; None where all are right.

    `predictions` has a row per item in the order of `sources`: columns true, predicted, score, correct.
    """
    wrong = np.flatnonzero(~predictions["correct"].to_numpy(dtype=bool))
    scores = predictions["score"].to_numpy()
    pictures = []
    for row in wrong[np.argsort(-scores[wrong], kind="stable")][:SHOWN]:
        try:
            image: Image.Image = read_image(sources[row])
        except ImageError:  # it was there when it was embedded
            continue
        image.thumbnail((SIDE, SIDE))
        true, predicted = predictions["true"].iloc[row], predictions["predicted"].iloc[row]
        text = (
            f"{textwrap.shorten(str(true), 22)}, taken for\n{textwrap.shorten(str(predicted), 22)} ({scores[row]:.1f})"
        )
        pictures.append((image, text))
    return picture_grid(pictures, "wrong answers with the highest scores (100 cos)") if pictures else None
