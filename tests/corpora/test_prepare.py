"""The script: a corpus by name, one line for a mistake."""

import subprocess
import sys
from pathlib import Path

import pytest
from pictures import save

from xmodal.corpora import CORPORA
from xmodal.errors import UserError

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
        (("slurp", tmp_path, tmp_path / "out", "--limit", "0"), "error: --limit: found 0"),
        (("none", tmp_path, tmp_path / "out"), "error: 'none' is not one of audio_folder, "),
    ):
        done = prepare(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(line)
        assert "Traceback" not in done.stderr


def test_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save(tmp_path / "in" / split / "n01440764" / "a.JPEG")
    done = prepare("imagenet", tmp_path / "in", tmp_path / "out", "--split", "val")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{tmp_path}/out/val.parquet: 1 rows",
        f"{tmp_path}/out/val.skipped.jsonl: 1 rows",
        "  left out, 1: val (1 classes with images; the whole corpus has 1000)",
    ]
    for corpus, line in (
        ("coco", "coco has train, val; found dev"),
        ("slurp", "slurp has no splits to choose; found dev"),
    ):
        done = prepare(corpus, tmp_path / "in", tmp_path / "none", "--split", "dev")
        assert (done.returncode, done.stderr) == (2, f"error: --split: {line}\n")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("corpus", sorted(CORPORA))
def test_every_corpus_tells_a_wrong_root_what_it_expects(corpus: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match=r"expected|ROOT is the|beside the images"):
        CORPORA[corpus](tmp_path / "in", tmp_path / "out", None)
    assert not (tmp_path / "out").exists()
