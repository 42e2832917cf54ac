"""This tree's benchmarks beside another checkout's: is anything slower, or larger, than it was?

    python benchmarks/against.py ../old ../old/.venv/bin/python
    python benchmarks/against.py ../old ../old/.venv/bin/python --only store retrieval --rounds 5
    python benchmarks/against.py ../old python --quick        # small sizes: does it run?

Runs each benchmark of `benchmarks/results/cpu.json` in both trees in turns, the one that begins alternating, so that
what slows the machine for a while slows both. Prints the medians of every number in that file and their ratio, this
tree over the other, marked where it is more than 5% from 1; whether more is better depends on the number. Sizes and
other settings, equal in both by definition, are left out. The last line is one JSON object.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure

from xmodal.errors import UserError, run_script

HERE = Path(__file__).resolve().parent.parent
TOLERANCE = 0.05


@dataclass(frozen=True)
class Tree:
    """A checkout and the interpreter that has its packages."""

    folder: Path
    python: str

    def run(self, benchmark: str, arguments: Sequence[str]) -> dict[str, float]:
        """The numbers that a benchmark of this tree prints."""
        script = self.folder / "benchmarks" / f"bench_{benchmark}.py"
        try:
            line = measure.last_line(str(script), *arguments, python=self.python, checkout=self.folder)
            return numbers(json.loads(line))
        except (RuntimeError, OSError, ValueError, IndexError) as error:
            raise UserError(f"{script}: {str(error).strip()[-1000:]}") from None


def numbers(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a result by dotted key."""
    found: dict[str, float] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            found[prefix + key] = value
    return found


def compare(
    here: Tree, there: Tree, wanted: Mapping[str, Mapping[str, Any]], rounds: int, arguments: Sequence[str] = ()
) -> dict[str, tuple[float, float]]:
    """`BENCHMARK.KEY` -> medians (here, there) of every number of `wanted` that is no setting.

    Raises:
        UserError: a benchmark that fails; a key that one of the trees does not print.
    """
    found: dict[str, tuple[float, float]] = {}
    for benchmark, expected in wanted.items():
        results: dict[Tree, list[dict[str, float]]] = {here: [], there: []}
        for round_ in range(rounds):
            for tree in (here, there) if round_ % 2 else (there, here):
                results[tree].append(tree.run(benchmark, arguments))
        keys = [key for key in numbers(expected) if not is_setting(key, expected)]
        if arguments:  # other sizes have other keys
            keys = [key for key in keys if all(key in result for tree in results for result in results[tree])]
        for key in keys:
            medians = []
            for tree, runs in results.items():
                if key not in runs[0]:
                    raise UserError(f"{tree.folder}: bench_{benchmark}.py prints no {key}, which results/cpu.json has")
                medians.append(statistics.median(run[key] for run in runs))
            found[f"{benchmark}.{key}"] = (medians[0], medians[1])
    return found


def is_setting(key: str, result: Mapping[str, Any]) -> bool:
    """Whole numbers are sizes of the benchmark, except bytes."""
    return isinstance(numbers(result)[key], int) and "bytes" not in key


def main(argv: list[str]) -> None:
    """Measure, print the table and the JSON line."""
    wanted = {k: v for k, v in json.loads((HERE / "benchmarks/results/cpu.json").read_text()).items() if k != "date"}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the other checkout")
    parser.add_argument("python", help="its interpreter")
    parser.add_argument("--only", nargs="+", choices=list(wanted), default=list(wanted), help="benchmarks")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each benchmark in each tree (default 3)")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    options = parser.parse_args(argv)
    if options.rounds < 1:
        raise UserError(f"--rounds {options.rounds}: expected 1 or more")
    folder = options.folder.resolve()
    if not (folder / "benchmarks").is_dir():
        raise UserError(f"{options.folder}: no folder benchmarks in it; name another checkout of xmodal")
    # as a path only where it is one: resolving a link would lose the environment it belongs to
    python = str(Path(options.python).absolute()) if "/" in options.python else options.python
    here, there = Tree(HERE, sys.executable), Tree(folder, python)
    quick = ["--quick"] if options.quick else []
    medians = compare(here, there, {name: wanted[name] for name in options.only}, options.rounds, quick)
    width = max(map(len, medians)) + 2
    print(f"{'':{width}}{'here':>16}{'there':>16}{'ratio':>9}")
    ratios = {key: round(a / b, 4) if b else 1.0 if a == b else float("inf") for key, (a, b) in medians.items()}
    for key, (a, b) in medians.items():
        mark = "  *" if abs(ratios[key] - 1) > TOLERANCE else ""
        print(f"{key:{width}}{a:16,.6g}{b:16,.6g}{ratios[key]:9.3f}{mark}")
    beyond = [key for key, ratio in ratios.items() if abs(ratio - 1) > TOLERANCE]
    measure.finish({"benchmark": "against", "rounds": options.rounds, "ratios": ratios, "beyond_5_percent": beyond})


if __name__ == "__main__":
    sys.exit(run_script(main))
