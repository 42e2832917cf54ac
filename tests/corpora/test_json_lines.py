"""JSON lines: what a broken file says, and that a file is written whole."""

from pathlib import Path

import pytest

from xmodal.corpora.json_lines import read_json_lines, write_json_lines
from xmodal.errors import UserError


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    rows = [{"id": "1", "text": "größer\u2028 \n"}, {"id": "2", "text": ""}]
    assert write_json_lines(path, rows) == 2
    assert read_json_lines(path, ("id", "text")) == rows
    assert [p.name for p in path.parent.iterdir()] == ["a.jsonl"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_json_lines(path, [{"id": "1"}])

    def rows():
        yield {"id": "2"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_json_lines(path, rows())
    assert read_json_lines(path) == [{"id": "1"}]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", "empty, expected one JSON object a line"),
        (b'{"a": 1}\n{"a": ', "line 2: not JSON: Expecting value; is the file complete?"),
        (b'{"a": 1}\n\n[1]\n', "line 3: found [1], expected a JSON object"),
        (b'{"a": 1}\n{"b": 1, "c": 2}\n', "line 2: no a; found b, c"),
    ],
)
def test_broken_file_says_the_line(tmp_path: Path, text: bytes, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(text)
    with pytest.raises(UserError) as error:
        read_json_lines(path, ("a",))
    assert str(error.value) == f"{path}: {line}"


def test_missing_and_not_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_json_lines(tmp_path / "none.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8 text"):
        read_json_lines(tmp_path / "a.jsonl")
