"""The comparison of two checkouts: turns, medians and ratios of benchmarks that print known numbers."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from xmodal.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
WANTED = {"some": {"benchmark": "some", "n": 100, "time": 1.0, "peak_bytes": 10, "over_n": {"8": 0.5}, "machine": "m"}}
BENCHMARK = """
import json, os
from pathlib import Path
log = Path(__file__).parents[2] / "log"
with log.open("a") as file:
    file.write(Path(os.environ["PYTHONPATH"]).name + "\\n")
times = TIMES
run = log.read_text().split().count(Path.cwd().name)
print("a table")
print(json.dumps({"n": 100, "time": times[run - 1], "peak_bytes": 20, "over_n": {"8": 0.25}}))
"""


@pytest.fixture
def against(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("against", FOLDER / "against.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "against", module)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("measure", None)


def tree(against: ModuleType, folder: Path, times: list[float]) -> object:
    (folder / "benchmarks").mkdir(parents=True)
    (folder / "benchmarks" / "bench_some.py").write_text(BENCHMARK.replace("TIMES", str(times)))
    return against.Tree(folder, sys.executable)


def test_trees_take_turns_and_medians_are_compared(against: ModuleType, tmp_path: Path) -> None:
    here = tree(against, tmp_path / "here", [1.0, 9.0, 2.0])
    there = tree(against, tmp_path / "there", [4.0, 4.0, 8.0])
    found = against.compare(here, there, WANTED, rounds=3)
    assert found == {"some.time": (2.0, 4.0), "some.peak_bytes": (20, 20), "some.over_n.8": (0.25, 0.25)}
    assert (tmp_path / "log").read_text().split() == ["there", "here", "here", "there", "there", "here"]


def test_a_number_that_is_gone_and_a_benchmark_that_fails(against: ModuleType, tmp_path: Path) -> None:
    here, there = (tree(against, tmp_path / name, [1.0]) for name in ("here", "there"))
    with pytest.raises(UserError, match=r"here: bench_some.py prints no speed"):
        against.compare(here, there, {"some": {"speed": 0.5}}, rounds=1)
    (tmp_path / "there" / "benchmarks" / "bench_some.py").write_text("raise SystemExit('broken')")
    with pytest.raises(UserError, match=r"there/benchmarks/bench_some.py: .*\n*broken"):
        against.compare(here, there, WANTED, rounds=1)


def test_every_number_of_the_committed_results_is_compared_or_a_setting(against: ModuleType) -> None:
    results = json.loads((FOLDER / "results" / "cpu.json").read_text())
    settings = {
        key
        for name, result in results.items()
        if name != "date"
        for key in against.numbers(result)
        if against.is_setting(key, result)
    }
    assert settings == {"n", "d", "rows", "captions", "images", "subsets", "chunk"}
