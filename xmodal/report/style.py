"""How all pictures of a report look: colours, titles, axes, and the way from a figure to pixels.

Uses matplotlib's object interface, not pyplot, so no state is shared and no display is needed.
"""

import io
import warnings
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from xmodal.report.fonts import set_fonts

INK, SOFT, GRID = "#1b2430", "#5b6878", "#dfe4ea"
RIGHT, WRONG = "#2b8a3e", "#c4ccd4"
SERIES = ("#1f6feb", "#d9480f", RIGHT, "#9c36b5", "#c99700", "#0b7285", "#c2255c", SOFT)  # one colour per line


def series_colour(index: int) -> str:
    """The colour of a picture's line number `index`; they come again after eight."""
    return SERIES[index % len(SERIES)]


def title_axes(axes: Any, title: str, under: str = "") -> None:
    """A title at the left, and a smaller line under it."""
    axes.set_title(escaped(title), loc="left", fontsize=12, color=INK, fontweight="bold", pad=20 if under else 8)
    if under:
        axes.annotate(
            under, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", fontsize=9, color=SOFT
        )


def plain_axes(axes: Any, axis: str = "both") -> None:
    """No frame above and on the right; a pale grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=axis, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def escaped(text: str) -> str:
    """A text in which a dollar starts no mathematics."""
    return text.replace("$", r"\$")


def shortened(text: object, longest: int) -> str:
    """A text of at most `longest` characters, ready to be drawn."""
    whole = str(text)
    return escaped(whole if len(whole) <= longest else whole[: longest - 1] + "…")


def drawn(figure: Figure, dpi: int) -> Image.Image:
    """The picture's pixels, in RGB; letters that no font has are boxes (see `fonts.notes_on_glyphs`)."""
    set_fonts(figure)
    figure.set_dpi(dpi)
    raw = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the report's notes say it, once
        FigureCanvasAgg(figure).print_png(raw)
    return Image.open(raw).convert("RGB")


def png_of(figure: Figure, dpi: int = 120, dither: bool = False) -> bytes:
    """The picture as PNG bytes, with 256 colours: they do, and the file is several times smaller inside the HTML.

    `dither` is for photographs.
    """
    picture, small = drawn(figure, dpi), io.BytesIO()
    reduced = (
        picture.quantize(256)
        if dither
        else picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    reduced.save(small, format="PNG", optimize=True)
    return small.getvalue()
