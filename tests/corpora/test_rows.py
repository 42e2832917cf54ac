from pathlib import Path

import pytest

from xmodal.corpora.speech.rows import read_rows
from xmodal.errors import UserError


def test_rows_must_hold_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1, "b": 2}\n\n{"b": 1, "c": 2}\n')
    assert read_rows(path, ("b",)) == [{"a": 1, "b": 2}, {"b": 1, "c": 2}]
    with pytest.raises(UserError) as error:
        read_rows(path, ("a", "b", "z"))
    assert str(error.value) == f"{path}: line 1: no z; found a, b"


def test_a_missing_corpus_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file, expected JSON lines; give the corpus as published"):
        read_rows(tmp_path / "none.jsonl", ())
