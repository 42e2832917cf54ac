"""What tests of zero-shot classification share."""

import pytest
from colours import save_image


@pytest.fixture
def folder(tmp_path):
    """Class folders: 3 red, 2 green (one of them blue, in truth), 4 blue."""
    for label, colours in {"red": ["red"] * 3, "green": ["lime", "blue"], "blue": ["blue"] * 4}.items():
        for n, colour in enumerate(colours):
            save_image(tmp_path / "test" / label / f"{n}.png", colour)
    return tmp_path / "test"
