"""Tables as corpora publish them."""

from pathlib import Path

import pytest

from xmodal.corpora.tables import empty_values, read_table
from xmodal.data.unusable import Bad
from xmodal.errors import UserError


def test_a_csv_with_quotes_and_a_tsv_without(tmp_path: Path) -> None:
    csv, tsv = tmp_path / "a.csv", tmp_path / "a.tsv"
    csv.write_bytes(b'\xef\xbb\xbfname, words\r\n"a, b", "two\nlines"\r\nc, "d ""e"""\r\n')
    tsv.write_bytes('name\twords\n"a\tit\u2028is"\n\n b \tc\n'.encode())
    assert read_table(csv, ("words",), []) == [{"name": "a, b", "words": "two\nlines"}, {"name": "c", "words": 'd "e"'}]
    assert read_table(tsv, ("words",), []) == [{"name": '"a', "words": 'it\u2028is"'}, {"name": "b", "words": "c"}]


def test_rows_of_another_width_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\n1\t2\n3\n4\t5\t6\n")
    skipped: list[Bad] = []
    assert read_table(path, ("a", "b"), skipped) == [{"a": "1", "b": "2"}]
    assert skipped == [(f"{path}: line 3", "1 values, expected 2"), (f"{path}: line 4", "3 values, expected 2")]


def test_other_names_for_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n")
    assert read_table(path, ("a",), [], names=("a", "b")) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "no such file; expected the table as published"),
        (b"", "expected columns a, b; found an empty file"),
        (b"a,c\n1,2\n", "expected columns a, b; found a, c"),
        (b"a,b\n", "expected at least one row of 2 values"),
        (b"a,b\n\xff,2\n", r"not UTF-8 \(byte 4\)"),
    ],
)
def test_what_is_no_such_table(tmp_path: Path, content: bytes | None, line: str) -> None:
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=line):
        read_table(path, ("a", "b"), [])


def test_empty_values() -> None:
    assert empty_values({"a": "1", "b": ""}, ("a", "b")) == "empty b"
    assert empty_values({"a": "1", "b": ""}, ("a",)) is None
