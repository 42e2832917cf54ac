"""Items that a report shows: a picture or a recording, what it is, and what it was taken for.

Input: bytes and names. Output: `Example`; and which of them a page holds, whose size has a limit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from xmodal.report.folder import is_media
from xmodal.report.record import finite

MOST_BYTES = 3_000_000  # of recordings and pictures in one page
TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".mp3": "audio/mpeg", ".wav": "audio/wav"}


@dataclass(frozen=True)
class Example:
    """One item and its answer.

    item       its id in the test
    true       its label
    predicted  the answer
    score      of the answer
    media      the bytes of a picture or a recording
    suffix     what they are: a key of `TYPES`
    said       what is said in it, where that is known
    cut        what of it is not in `media`: "the first 12 of 31 s"

    Example:
        report.examples["heldout: the most confident errors"] = [Example("u1", "on", "off", 0.4, data, ".mp3")]
    """

    item: str
    true: str
    predicted: str
    score: float
    media: bytes
    suffix: str
    said: str = ""
    cut: str = ""

    def __post_init__(self) -> None:
        if self.suffix not in TYPES:
            raise ValueError(f"suffix {self.suffix!r}: expected one of {', '.join(TYPES)}")

    @property
    def type(self) -> str:
        """The media type."""
        return TYPES[self.suffix]

    def as_json(self, file: str) -> dict[str, Any]:
        """The fields as plain JSON values; the bytes are in `file`, in the report's folder."""
        told = {"item": self.item, "true": self.true, "predicted": self.predicted, "score": finite(self.score)}
        return told | {"said": self.said, "cut": self.cut, "file": file}

    @classmethod
    def read(cls, folder: Path, told: Mapping[str, Any]) -> "Example":
        """What `as_json` told of a report in `folder`. Raises ValueError for a file that no report writes."""
        fields = dict(told)
        file = fields.pop("file")
        if not is_media(file):
            raise ValueError(f"example file {file!r} is none of the report's")
        score = math.nan if fields["score"] is None else fields.pop("score")
        return cls(**(fields | {"score": score}), media=(folder / file).read_bytes(), suffix=Path(file).suffix)


def in_page(examples: Mapping[str, Sequence[Example]], most: int = MOST_BYTES) -> dict[str, list[Example]]:
    """Those that one page holds: the first of every group, then the second of every one, while there is room.

    Example:
        in_page(report.examples)["heldout: the most confident errors"]
    """
    held: dict[str, list[Example]] = {title: [] for title in examples}
    left = most
    for turn in zip_longest(*examples.values()):
        for title, example in zip(examples, turn, strict=True):
            if example is not None and len(example.media) <= left:
                left -= len(example.media)
                held[title].append(example)
    return held
