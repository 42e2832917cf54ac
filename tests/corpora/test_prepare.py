"""The script: a corpus by name, one line for a mistake."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "data_prep" / "prepare.py"


def prepare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_real_corpus(xmodal_data: Path, tmp_path: Path) -> None:
    done = prepare("slurp", xmodal_data / "slurp", tmp_path, "--limit", "7")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{tmp_path}/devel_texts.jsonl: 7 rows", f"{tmp_path}/names.json: 59 rows"]
    assert len((tmp_path / "devel_texts.jsonl").read_text().splitlines()) == 7


def test_mistakes(tmp_path: Path) -> None:
    for arguments, line in (
        (("fsdd", tmp_path, tmp_path / "out"), f"error: {tmp_path}/recordings: no such folder"),
        (("slurp", tmp_path, tmp_path / "out", "--limit", "0"), "error: --limit: 0 must be at least 1"),
        (("none", tmp_path, tmp_path / "out"), "usage:"),
    ):
        done = prepare(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(line)
        assert "Traceback" not in done.stderr
