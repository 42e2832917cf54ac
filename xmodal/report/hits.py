"""Contact sheets of retrieval: some queries, what came first for each, the right ones framed, as PNG bytes.

Input: queries and hits, each a text, or a Pillow image with a name. Nothing is read from disk here.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from xmodal.report.style import INK, RIGHT, SOFT, WRONG, escaped, png_of

SIDE = 132  # pixels of a picture's longer side

_DPI = 100
_WIDTH = 1120  # pixels of the sheet
_GAP = 14
_HEAD = 64  # title and the columns' heads
_QUERY_WIDTH = 216  # pixels of a query written out
_LINE = 17  # pixels of a line of text
_LONGEST = 110  # characters of a hit; a longer one is cut


@dataclass(frozen=True)
class Shown:
    """A text, or a picture and its name. A picture that could not be read is None, and its name is shown."""

    name: str
    picture: Image.Image | None = None


@dataclass(frozen=True)
class Hit:
    """An item that came up, with its score."""

    item: Shown
    score: float
    right: bool


@dataclass(frozen=True)
class Query:
    """A query, its first hits, the rank of its best positive, and that positive where it is not among the hits."""

    item: Shown
    hits: Sequence[Hit]
    rank: int
    missed: Hit | None = None


def picture_hits(queries: Sequence[Query], title: str) -> bytes:
    """A row per query: the text, then the pictures that came first, then the right one where it is not among them.

    Example:
        report.figures["coco: text to image"] = picture_hits(queries, "text to image")
    """
    columns = max(len(query.hits) for query in queries)
    step, row = SIDE + _GAP, SIDE + _LINE + _GAP
    left = _GAP + _QUERY_WIDTH + _GAP
    sheet = _Sheet(max(_WIDTH, left + (columns + 1) * step), _HEAD + row * len(queries), title)
    for column in range(columns):
        sheet.text(left + column * step, _HEAD - 8, f"{column + 1}", SOFT)
    sheet.text(left + columns * step, _HEAD - 8, "the right one", SOFT)
    for number, query in enumerate(queries):
        top = _HEAD + number * row
        lines = _wrapped(query.item.name, 30, 6)
        for line, words in enumerate(lines):
            sheet.text(_GAP, top + (line + 1) * _LINE, words)
        sheet.text(_GAP, top + (len(lines) + 1) * _LINE, f"right at rank {query.rank}", SOFT)
        for column, hit in enumerate(query.hits):
            sheet.picture(left + column * step, top, hit)
        if query.missed:
            sheet.picture(left + columns * step, top, query.missed, f"rank {query.rank}, ")
    return sheet.png()


def text_hits(queries: Sequence[Query], title: str) -> bytes:
    """A row per query: the picture, then the texts that came first, then the right one where it is not among them."""
    lines = max(len(query.hits) + bool(query.missed) for query in queries)
    row = max(SIDE, (lines + 1) * _LINE) + _GAP
    sheet = _Sheet(_WIDTH, _HEAD + row * len(queries), title)
    sheet.text(_GAP, _HEAD - 8, "green and ticked: right", SOFT)
    left = SIDE + 2 * _GAP
    for number, query in enumerate(queries):
        top = _HEAD + number * row
        sheet.picture(_GAP, top, Hit(query.item, 0, False), score=False)
        for line, hit in enumerate(query.hits, start=1):
            sheet.line(left, top + line * _LINE, hit, f"{line}")
        if query.missed:
            sheet.line(left, top + (len(query.hits) + 1) * _LINE, query.missed, f"{query.rank}")
    return sheet.png()


class _Sheet:
    """A canvas in pixels from the top left corner."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height = width, height + _GAP
        self.figure = Figure(figsize=(width / _DPI, self.height / _DPI), dpi=_DPI)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(self.height, 0)
        self.text(_GAP, 26, title, size=12, weight="bold")

    def text(
        self, x: float, y: float, words: str, colour: str = INK, size: float = 9.5, weight: str = "normal"
    ) -> None:
        self.axes.text(x, y, escaped(words), color=colour, fontsize=size, fontweight=weight, va="baseline")

    def line(self, x: float, y: float, hit: Hit, place: str) -> None:
        """A hit as a line of text."""
        colour, mark = (RIGHT, "✓ ") if hit.right else (INK, "")
        words = textwrap.shorten(hit.item.name, _LONGEST, placeholder=" …") or hit.item.name[:_LONGEST]
        self.text(x, y, place, SOFT)
        self.text(x + 44, y, f"{hit.score:.3f}", SOFT)
        self.text(x + 92, y, mark + words, colour, weight="bold" if hit.right else "normal")

    def picture(self, x: float, y: float, hit: Hit, before: str = "", score: bool = True) -> None:
        """A hit as a picture in a frame, in the middle of its square; its name where there is no picture."""
        width = height = SIDE
        picture = hit.item.picture
        if picture is not None:
            scale = SIDE / max(picture.size)
            width, height = (max(1, round(edge * scale)) for edge in picture.size)
        x, y = x + (SIDE - width) / 2, y + (SIDE - height) / 2
        if picture is None:
            self.axes.add_patch(Rectangle((x, y), width, height, color="#eef1f4"))
            for number, words in enumerate(_wrapped(hit.item.name, 18, 6), start=1):
                self.text(x + 6, y + number * _LINE, words, SOFT, size=8)
        else:
            self.axes.imshow(
                picture.convert("RGB").resize((width, height)), extent=(x, x + width, y + height, y), aspect="auto"
            )
            self.axes.set_xlim(0, self.width)  # imshow moves them
            self.axes.set_ylim(self.height, 0)
        edge, thick = (RIGHT, 3.5) if hit.right else (WRONG, 0.8)
        frame = Rectangle((x, y), width, height, fill=False, edgecolor=edge, linewidth=thick, zorder=3)
        self.axes.add_patch(frame)
        if score:
            colour = RIGHT if hit.right else SOFT
            self.text(x, y + height + 15, f"{before}{hit.score:.3f}", colour, size=8.5)

    def png(self) -> bytes:
        return png_of(self.figure, _DPI, dither=True)


def _wrapped(words: str, width: int, lines: int) -> list[str]:
    return textwrap.wrap(words, width, max_lines=lines, placeholder=" …", break_long_words=True) or [""]
