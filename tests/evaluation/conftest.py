"""What tests of evaluators share."""

from pathlib import Path

import pytest
from colours import save_image
from intent_table import ByTable, write_table


@pytest.fixture
def table(tmp_path: Path) -> ByTable:
    """The encoder of the small matrix; beside it test.jsonl and examples.jsonl."""
    return write_table(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders: 3 red, 2 green (one of them blue, in truth), 4 blue."""
    for label, colours in {"red": ["red"] * 3, "green": ["lime", "blue"], "blue": ["blue"] * 4}.items():
        for n, colour in enumerate(colours):
            save_image(tmp_path / "test" / label / f"{n}.png", colour)
    return tmp_path / "test"
