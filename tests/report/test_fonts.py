"""Letters beyond matplotlib's own font: drawn in a font that has them, or told once, and never a warning."""

import warnings
from collections.abc import Iterator

import pytest
from matplotlib.font_manager import fontManager

from xmodal.report import fonts
from xmodal.report.figures import confusion
from xmodal.report.fonts import families_for, missing_letters, notes_on_glyphs

LAMBDA = "\U0001d6cc"  # bold lambda: in STIXGeneral, which comes with matplotlib, and not in DejaVu Sans


@pytest.fixture
def only_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with no font but those of matplotlib."""
    own = [(e.name, e.fname) for e in fonts.font_manager.fontManager.ttflist if "mpl-data" in e.fname]
    monkeypatch.setattr(fonts, "_installed", lambda: tuple(f for f in own if not f[0].startswith(fonts.BOXES)))
    fonts._fonts_for.cache_clear()
    yield
    fonts._fonts_for.cache_clear()


def test_the_own_font_is_enough_for_most_names(only_own: None) -> None:
    for name in ("cat", "Käse", "кошка", "γάτα", "a\u2028b", "\ufe0f"):
        assert families_for(name) == [fonts.OWN]
        assert missing_letters([name]) == []


def test_a_letter_comes_from_the_font_that_has_it(only_own: None) -> None:
    own, other = families_for(f"cat {LAMBDA}")
    assert own == fonts.OWN
    assert other in {font.name for font in fontManager.ttflist} - {fonts.OWN}
    assert notes_on_glyphs([LAMBDA]) == []
    plain, greek = (confusion(["a", name], ["a", name], ["a", name]) for name in ("b", LAMBDA))
    assert plain != greek


def test_letters_that_no_font_has_are_told_once_and_warn_nobody(only_own: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cat, dog = (confusion([name], [name], [name, "a"]) for name in ("猫", "犬"))
    assert cat == dog  # both a box
    [note] = notes_on_glyphs(["猫", "cat", "犬と猫", LAMBDA])
    assert "no installed font has 3 of the letters in the names (と 犬 猫)" in note
