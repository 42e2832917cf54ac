"""A config as text, and the mistakes of one."""

from pathlib import Path

import pytest

from xmodal.config import load_config
from xmodal.errors import UserError

RUN = """\
output: runs/a
data: {train: data/train.jsonl}
towers:
  text: {kind: transformers, name: bert, max_length: 32}
  speech: {kind: speech_encoder, width: 96, heads: 4}
"""


def lines_of(path: Path, *overrides: str) -> list[str]:
    """The mistakes, the file's path taken off."""
    with pytest.raises(UserError) as error:
        load_config(path, overrides)
    return [line.replace(f"{path}: ", "") for line in str(error.value).splitlines()]
