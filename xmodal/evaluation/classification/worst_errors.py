"""The errors a classifier was surest of, to look at or to listen to. Input: predictions, and where the items are.

Output: `Example`s for the report. Only what the test itself holds is read.
"""

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from PIL import Image

from xmodal.data.audio import AudioError
from xmodal.data.image import ImageError, read_image
from xmodal.data.sources.audio_bytes import waveform
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.report.examples import Example
from xmodal.report.report import Report

SHOWN = {"image": 18, "audio": 12}  # of each data set
SIDE = 160  # pixels of a picture's longer side
SMALL = 64  # pixels; smaller pictures are kept as they are
SECONDS = 12  # of a recording; a longer one is cut, which is told
RATE = 16_000  # Hz


def show_worst_errors(
    report: Report, name: str, predictions: pd.DataFrame, test: LabelledItems, said: str | None = None
) -> None:
    """Add the wrong answers with the highest scores to a report, the surest first; none where all are right.

    Args:
        report: gets them under "NAME: the most confident errors".
        name: of the data set.
        predictions: a row per item: columns item, true, predicted, score, correct.
        test: the items, pictures or recordings; of texts nothing is shown.
        said: column of the test with what is said in each.

    Example:
        show_worst_errors(report, "digits", report.predictions, test)
    """
    places = {str(item): place for place, item in enumerate(test.names)}
    words = test.further.get(said or "")
    wrong = predictions[~predictions["correct"].astype(bool)].sort_values("score", ascending=False, kind="stable")
    found, lost = [], 0
    for error in wrong[: SHOWN.get(test.kind, 0)].to_dict("records"):
        place = places[str(error["item"])]
        try:
            source = test.sources[place]
            media, suffix, cut = _picture(source) if test.kind == "image" else _recording(source)
        except (ImageError, AudioError):  # it was there when it was embedded
            lost += 1
            continue
        text = "" if words is None or words[place] is None else str(words[place])
        item, true, predicted = (str(error[column]) for column in ("item", "true", "predicted"))
        found.append(Example(item, true, predicted, float(error["score"]), media, suffix, text, cut))
    if lost:
        report.notes.append(f"{name}: {lost} of the surest errors cannot be read any more, and are not shown.")
    if found:
        report.examples[f"{name}: the most confident errors"] = found


def _picture(source: str | Path | bytes) -> tuple[bytes, str, str]:
    image: Image.Image = read_image(source).convert("RGB")
    small = max(image.size) <= SMALL
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG" if small else "JPEG", optimize=True, quality=85)
    return buffer.getvalue(), ".png" if small else ".jpg", ""


def _recording(source: str | Path | bytes) -> tuple[bytes, str, str]:
    """As MP3, which every browser plays; as WAV where this libsndfile writes none."""
    samples = waveform(source, RATE)
    seconds = len(samples) / RATE
    cut = f"(the first {SECONDS} of {math.ceil(seconds)} s)" if seconds > SECONDS else ""
    kind = {"format": "MP3", "subtype": "MPEG_LAYER_III"} if "MP3" in soundfile.available_formats() else None
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.clip(samples[: SECONDS * RATE], -1, 1), RATE, **(kind or {"format": "WAV", "subtype": "PCM_16"})
    )
    return buffer.getvalue(), ".mp3" if kind else ".wav", cut
