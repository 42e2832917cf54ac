"""A mistake is one line and exit code 2; the traceback comes on request."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from xmodal.errors import UserError, no_such_file, run_script


def _fails(argv: list[str]) -> None:
    raise UserError("configs/a.yaml: train.steps: 0 must be at least 1\nconfigs/a.yaml: data: missing")


def test_user_error_is_a_line_each_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(_fails, []) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "error: configs/a.yaml: train.steps: 0 must be at least 1",
        "error: configs/a.yaml: data: missing",
    ]


def test_debug_shows_the_traceback_and_is_not_handed_on(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []

    def main(argv: list[str]) -> None:
        seen.extend(argv)
        _fails(argv)

    assert run_script(main, ["a.yaml", "--debug", "seed=1"]) == 2
    assert seen == ["a.yaml", "seed=1"]
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "error: configs/a.yaml: data: missing" in err


def test_done_is_0_and_interrupted_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(argv: list[str]) -> None:
        raise KeyboardInterrupt

    assert run_script(lambda argv: None, []) == 0
    assert run_script(interrupted, []) == 130
    assert capsys.readouterr().err.startswith("interrupted")


def test_a_defect_is_not_hidden() -> None:
    def defect(argv: list[str]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_script(defect, [])


def test_wrong_option_exits_2() -> None:
    with pytest.raises(SystemExit) as error:
        run_script(lambda argv: argparse.ArgumentParser().parse_args(argv), ["--none"])
    assert error.value.code == 2


def test_the_command_line_is_read_by_default() -> None:
    code = (
        "import sys; from xmodal.errors import UserError, no_such_file, run_script\n"
        "def main(argv): raise UserError(' '.join(argv))\n"
        "sys.exit(run_script(main))"
    )
    done = subprocess.run([sys.executable, "-c", code, "a", "b"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: a b\n")


def test_a_line_separator_within_a_name_makes_no_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> None:
        raise UserError("a\u2028b\x0cc\x85d: no such file")

    assert run_script(main, []) == 2
    assert capsys.readouterr().err == "error: a\u2028b\x0cc\x85d: no such file\n"


PRINTER = """
import sys
from xmodal.errors import run_script
def main(argv):
    for line in range(100_000):
        print("line", line)
sys.exit(run_script(main))
"""


def test_a_reader_that_has_gone_ends_it_quietly() -> None:
    with subprocess.Popen([sys.executable, "-c", PRINTER], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"line 0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_another_pipe_that_breaks_is_not_hidden() -> None:
    code = "import sys; from xmodal.errors import run_script\ndef main(argv): raise BrokenPipeError('a worker died')\n"
    code += "sys.exit(run_script(main))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "BrokenPipeError: a worker died" in done.stderr


def test_a_missing_file_names_its_nearest_neighbour(tmp_path: Path) -> None:
    for name in ("train.jsonl", "test.jsonl", "train.csv"):
        (tmp_path / name).touch()
    assert str(no_such_file(tmp_path / "trian.jsonl")) == (
        f"{tmp_path}/trian.jsonl: no such file; did you mean {tmp_path}/train.jsonl?"
    )
    there = "there: test.jsonl, train.jsonl"
    assert str(no_such_file(tmp_path / "x.jsonl")) == f"{tmp_path}/x.jsonl: no such file; {there}"
    assert str(no_such_file(tmp_path / "x.tsv")) == f"{tmp_path}/x.tsv: no such file; there: no .tsv file"
    assert str(no_such_file(tmp_path / "folder")) == f"{tmp_path}/folder: no such file"
    assert str(no_such_file(tmp_path / "folder", "make it")) == f"{tmp_path}/folder: no such file; make it"
