"""Files are whole or not there, and a broken line of JSONL says where it is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xmodal.errors import UserError
from xmodal.files import read_json_lines, write_json_lines, write_text, written_whole


def rows_of(path: Path) -> list[dict]:
    return [row for _, row in read_json_lines(path)]


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    rows = [{"id": "1", "text": "größer\u2028 \n"}, {"id": "2", "text": ""}]
    assert write_json_lines(path, rows) == 2
    assert read_json_lines(path) == [(f"{path}: line 1", rows[0]), (f"{path}: line 2", rows[1])]
    assert [p.name for p in path.parent.iterdir()] == ["a.jsonl"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_json_lines(path, [{"id": "1"}])

    def rows():
        yield {"id": "2"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_json_lines(path, rows())
    assert rows_of(path) == [{"id": "1"}]
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_the_bytes_are_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda f: (seen.append(sorted(p.name for p in tmp_path.iterdir())), real(f)))
    write_text(tmp_path / "a.txt", "new")
    [[name]] = seen
    assert re.fullmatch(rf"a\.txt\..*-{os.getpid()}\.tmp", name)
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_rename_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fails(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(OSError, match="disk full"), written_whole(tmp_path / "a.txt") as beside:
            beside.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.jsonl: empty, expected at least one row; make it again"),
        (b"\n\n", "a.jsonl: empty"),
        (b'{"a": 1}\n{"a": ', "line 2 is not JSON (Expecting value)"),
        (b'{"a": 1}\n\n[1]\n', "line 3 is a list, expected one JSON object per line"),
        (b"\xff\xfe", "line 1 is not JSON (not UTF-8)"),
        (b'{"a": "\\ud800"}', "line 1 is not JSON (not UTF-8)"),
    ],
)
def test_a_broken_file_says_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_json_lines(path, hint="make it again")
    assert message in str(error.value)


def test_a_missing_file_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: no such file, expected JSON lines; check the path"):
        read_json_lines(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="is a folder"):
        read_json_lines(tmp_path)


WRITER = """
import sys
from pathlib import Path
from xmodal.files import write_text
for _ in range(300):
    write_text(Path(sys.argv[1]), sys.argv[2] * 20_000)
"""


def test_two_writers_never_leave_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, letter]) for letter in "xy"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.is_file():
            seen.add(path.read_text())
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen | {path.read_text()} <= {"x" * 20_000, "y" * 20_000}
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    killed = """
import os, signal, sys
from pathlib import Path
from xmodal.files import written_whole
with written_whole(Path(sys.argv[1])) as beside:
    beside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", killed, tmp_path / "a.txt"], check=False)
    assert len(list(tmp_path.glob("a.txt.*.tmp"))) == 1
    (tmp_path / "a.txt.elsewhere-1.tmp").write_text("another machine's")
    write_text(tmp_path / "b.txt", "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt.elsewhere-1.tmp", "b.txt"]
