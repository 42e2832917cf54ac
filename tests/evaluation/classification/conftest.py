"""What tests of spoken intents share."""

from pathlib import Path

import pytest
from intent_table import ByTable, write_table


@pytest.fixture
def table(tmp_path: Path) -> ByTable:
    """The encoder of the small matrix; beside it test.jsonl and examples.jsonl."""
    return write_table(tmp_path)
