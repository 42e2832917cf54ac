"""Letters that matplotlib's own font lacks (Chinese, Arabic, ...): an installed font that has them, or a note.

Input: the texts of a picture. Output: font families to draw them in, and the letters that no font here has.
"""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

OWN = "DejaVu Sans"  # comes with matplotlib
BOXES = "Last Resort"  # has a box for everything


def set_fonts(figure: Figure) -> None:
    """Give every text of a picture the families that have its letters; others stay as they are."""
    for text in figure.findobj(Text):
        families = families_for(text.get_text())
        if len(families) > 1:
            text.set_fontfamily(families)


def families_for(text: str) -> list[str]:
    """Families that together have all letters of a text, as far as any font here does; matplotlib's own comes first.

    Example:
        families_for("cat")  # ["DejaVu Sans"]
    """
    return list(_fonts_for(_unusual(text))[0])


def missing_letters(texts: Iterable[str]) -> list[str]:
    """The letters in some texts that no installed font has, sorted."""
    return sorted(_fonts_for(_unusual("".join(map(str, texts))))[1])


def notes_on_glyphs(texts: Iterable[str]) -> list[str]:
    """A note for the report where a picture of these texts lacks letters; none where all can be drawn.

    Example:
        report.notes += notes_on_glyphs(class_names)
    """
    missing = missing_letters(texts)
    if not missing:
        return []
    shown = " ".join(missing[:8]) + (" ..." if missing[8:] else "")
    return [
        f"pictures: no installed font has {len(missing)} of the letters in the names ({shown}), which are drawn as "
        "boxes; the tables have them. Install a font of that script, such as Noto Sans CJK."
    ]


def _unusual(text: str) -> frozenset[int]:
    """Code points beyond Latin-1; controls, spaces and joiners have no glyph of their own."""
    return frozenset(ord(c) for c in set(text) if ord(c) > 255 and unicodedata.category(c)[0] not in "CZ")


@lru_cache(maxsize=4096)
def _fonts_for(wanted: frozenset[int]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Families, and the letters that none has: each time the font with the most of what is still missing."""
    left = wanted - _letters(font_manager.findfont(OWN))
    families = [OWN]
    while left:
        best = max(_installed(), key=lambda font: len(left & _letters(font[1])), default=None)
        if best is None or not left & _letters(best[1]):
            break
        families.append(best[0])
        left -= _letters(best[1])
    return tuple(families), frozenset(map(chr, left))


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[str, str], ...]:
    """(family, file) of upright fonts, regular weights first; also such as came after matplotlib made its list."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for file in font_manager.findSystemFonts():
        if file not in known:
            try:
                font_manager.fontManager.addfont(file)
            except Exception:
                continue
    upright = [e for e in font_manager.fontManager.ttflist if e.style == "normal" and not e.name.startswith(BOXES)]
    upright.sort(key=lambda e: (e.weight not in (400, "normal", "regular", "book"), e.name, e.fname))
    return tuple((e.name, e.fname) for e in upright)


@lru_cache(maxsize=512)
def _letters(file: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (RuntimeError, OSError):
        return frozenset()
