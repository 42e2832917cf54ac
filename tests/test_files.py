"""Files are whole or not there, and a broken line of JSONL says where it is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xmodal.errors import UserError
from xmodal.files import files_under, read_json_lines, split_lines, write_json_lines, write_text, written_whole


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


def test_a_librarys_error_while_writing_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    class SafetensorError(Exception):
        """As safetensors raises where a disk is full: no OSError."""

    def write() -> None:
        with written_whole(tmp_path / "model.safetensors") as beside:
            beside.write_bytes(b"half")
            beside.with_name(f"{beside.name}.more").write_bytes(b"what a library put beside it")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(UserError, match=r"model\.safetensors: cannot be written \(Error while .*os error 28\)\); free"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    def write() -> None:
        with written_whole(tmp_path / "a.txt") as beside:
            beside.symlink_to("/dev/full")
            beside.write_text("x")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_the_block_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError), written_whole(tmp_path / "a.txt"):
        raise KeyError("mine")


def test_every_file_is_found_once_and_links_do_not_go_round(tmp_path: Path) -> None:
    for name in ("set/a.txt", "set/sub/b.txt", "far/c.txt", "far/deep/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    links = {"set/far": "far", "set/again": "far", "set/inside": "set/sub", "far/deep/back": "set", "far/self": "far"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(tmp_path / target)
    (tmp_path / "set" / "up").symlink_to(tmp_path)
    (tmp_path / "set" / "gone.txt").symlink_to(tmp_path / "nothing")
    found = [str(file.relative_to(tmp_path / "set")) for file in files_under(tmp_path / "set")]
    assert found == ["a.txt", "again/c.txt", "again/deep/d.txt", "gone.txt", "sub/b.txt"]
    plain = tmp_path / "set" / "sub"
    assert files_under(plain) == sorted(p for p in plain.rglob("*") if not p.is_dir())


def test_lines_end_with_line_feeds_alone() -> None:
    text = "one\u2028still one\r\ntwo\x0c\x0b\x85\n\nfour"
    assert split_lines(text) == ["one\u2028still one", "two\x0c\x0b\x85", "", "four"]
    assert split_lines("") == []
    assert split_lines("a\n") == ["a"]


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
