"""Config files of a test's own."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a text into a file of the test's folder."""

    def write_file(text: str, name: str = "x.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file
