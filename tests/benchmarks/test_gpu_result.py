"""What gpu.sh writes down of a card: passes and failures of real pytest runs, and a benchmark that ended or did not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
TESTS = """
import pytest

def test_right(): pass
def test_wrong(): assert 1 == 2
@pytest.mark.skip(reason="not today")
def test_later(): pass
@pytest.fixture
def broken(): raise OSError("no card")
def test_with_a_broken_fixture(broken): pass
"""


def write_result(card: str, folder: Path, *, expected: int) -> str:
    """What it prints."""
    command = [sys.executable, str(FOLDER / "gpu_result.py"), card, "tests.xml", "objectives", "results"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == expected, done.stderr
    return done.stdout


def test_what_failed_is_written_down(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml=tests.xml", "test_some.py"]
    subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    (tmp_path / "objectives").write_text('a table\n{"benchmark": "objectives", "n": 32768}\n')
    printed = write_result("NVIDIA A100-SXM4-80GB", tmp_path, expected=1)
    assert printed == "results/nvidia_a100_sxm4_80gb.json: tests: 1 passed, 1 skipped, 2 failed\n"
    found = json.loads((tmp_path / "results" / "nvidia_a100_sxm4_80gb.json").read_text())
    assert "assert 1 == 2" in found["tests"]["failed"]["test_some.test_wrong"]
    assert "no card" in found["tests"]["failed"]["test_some.test_with_a_broken_fixture"]
    assert found["tests"]["skipped"] == {"not today": 1}
    assert found["objectives"] == {"benchmark": "objectives", "n": 32768}


@pytest.mark.parametrize("output", ["", "N = 32,768\nout of memory\n"])
def test_a_benchmark_without_a_result_is_a_failure(output: str, tmp_path: Path) -> None:
    (tmp_path / "tests.xml").write_text(
        '<testsuites><testsuite><testcase name="a" time="1.5"/></testsuite></testsuites>'
    )
    (tmp_path / "objectives").write_text(output)
    assert "1 passed, 0 skipped, 0 failed" in write_result("", tmp_path, expected=1)
    found = json.loads((tmp_path / "results" / "dry_run.json").read_text())
    assert found["objectives"] == {"failed": output.strip()}
    assert found["tests"] == {"passed": 1, "skipped": {}, "seconds": 1.5, "failed": {}}


def test_tests_that_never_ended_are_a_failure(tmp_path: Path) -> None:
    (tmp_path / "objectives").write_text("{}")
    write_result("Card", tmp_path, expected=1)
    assert "all" in json.loads((tmp_path / "results" / "card.json").read_text())["tests"]["failed"]


def test_gpu_tests_are_collected_and_skip_themselves_without_a_card() -> None:
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-m", "gpu", "tests/gpu"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=FOLDER.parent, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " skipped" in done.stdout
    assert " passed" not in done.stdout
