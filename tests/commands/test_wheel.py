"""What `pip install` of a wheel gives, outside the checkout: the command, the configs, training, evaluation, sweeps.

The environment has the wheel and nothing else of its own; everything xmodal depends on is that of the running one.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from run_script import ROOT

import xmodal
from xmodal.commands.cli import COMMANDS
from xmodal.report.report import read_report

PACKED = (
    "xmodal",
    "configs",
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "NOTICE",
    "CHANGELOG.md",
    "CITATION.cff",
)
ENDS = (".tar.gz", "-py3-none-any.whl")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment into which the wheel, made of the sdist, was installed: all offline."""
    for package in ("setuptools", "pip", "build", "twine"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: building writes beside the sources
    source.mkdir()
    for name in PACKED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    for step in (
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)],
        [
            sys.executable,
            "-m",
            "twine",
            "check",
            "--strict",
            *(str(folder / f"xmodal-{xmodal.__version__}{end}") for end in ENDS),
        ],
        [*pip, "--python", str(python), "install", *offline, "--find-links", str(folder), "xmodal"],
    ):
        done = subprocess.run(step, capture_output=True, text=True, check=False, cwd=folder, env=environment_alone())
        assert done.returncode == 0, done.stderr[-2000:]
    [packages] = environment.glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    shutil.rmtree(source)
    return environment / "bin"


def environment_alone() -> dict[str, str]:
    """The variables of this process, without those that lead to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XMODAL"))}


def run(program: Path, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(program), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, timeout=240, env=environment_alone()
    )


def test_what_is_imported_is_what_was_installed(installed: Path, tmp_path: Path) -> None:
    code = "import xmodal; from xmodal.commands.paths import CONFIGS; print(xmodal.__file__, CONFIGS, sep='\\n')"
    done = run(installed / "python", "-c", code, cwd=tmp_path)
    module, configs = map(Path, done.stdout.split())
    assert module.is_relative_to(installed.parent)
    assert configs == module.parent / "configs"
    shipped = {str(path.relative_to(configs)) for path in configs.rglob("*") if path.is_file()}
    assert shipped == {str(p.relative_to(ROOT / "configs")) for p in (ROOT / "configs").rglob("*") if p.is_file()}


def test_the_metadata_say_what_an_index_and_a_bill_of_materials_ask_for(installed: Path) -> None:
    [wheel] = installed.parents[1].glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        [file] = [name for name in names if name.endswith(".dist-info/METADATA")]
        told = Parser().parsestr(packed.read(file).decode())
    assert (told["Name"], told["Version"], told["License-Expression"]) == ("xmodal", xmodal.__version__, "Apache-2.0")
    assert "Typing :: Typed" in (told.get_all("Classifier") or [])
    addresses = [line.partition(", ")[2] for line in told.get_all("Project-URL") or []]
    assert addresses
    assert all(re.fullmatch(r"https://\S+", address) for address in addresses)  # a comma in a label would end it
    licences = file.removesuffix("METADATA") + "licenses/"
    assert {"xmodal/py.typed", f"{licences}LICENSE", f"{licences}NOTICE"} <= set(names)
    wanted = [Requirement(line) for line in told.get_all("Requires-Dist") or []]
    assert all(one.specifier and not one.url for one in wanted)  # a name and a lower limit each, from the index
    with tarfile.open(next(installed.parents[1].glob("*.tar.gz"))) as source:
        inside = {name.partition("/")[2] for name in source.getnames()}
    assert {"LICENSE", "NOTICE", "CHANGELOG.md", "CITATION.cff", "configs/demo_cwcl.yaml"} <= inside
    assert not any(name.startswith("tests/") for name in inside)  # whole or not at all


def test_the_command_lists_commands_and_answers_mistakes(installed: Path, tmp_path: Path) -> None:
    listed = run(installed / "xmodal", "--help", cwd=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ")] == list(COMMANDS)
    assert run(installed / "xmodal", cwd=tmp_path).stdout == listed.stdout
    [wheel] = installed.parents[1].glob("*.whl")
    named, version = wheel.name.split("-")[:2]  # of pyproject.toml; the command has it from the package
    assert run(installed / "xmodal", "--version", cwd=tmp_path).stdout == f"{named} {version}\n"
    wrong = run(installed / "xmodal", "zero_shoot", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr) == (2, "error: zero_shoot: no such command; did you mean zero-shot?\n")


def test_a_shipped_config_is_found_and_its_data_are_asked_for(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "xmodal", "train", "cifar10_cwcl", cwd=tmp_path)
    assert done.returncode == 2
    made_by = "xmodal prepare cifar10 $XMODAL_DATA/cifar10 data/cifar10"
    assert done.stderr == f"error: data/cifar10/train.parquet: no such file; make it with: {made_by}\n"


@pytest.mark.slow
def test_a_sweep_trains_and_a_run_is_evaluated(installed: Path, tiny_config: Path, tmp_path: Path) -> None:
    """The sweep starts `xmodal/train.py` of the wheel, which is the command train."""
    sweep = {
        "config": tiny_config.name,
        "output": "swept",
        "axes": {"loss": {"CL": ["objective.kind=infonce", "train.steps=2"]}, "seed": {"5": ["seed=5"]}},
        "over": "seed",
        "metrics": ["held/accuracy_mean"],
    }
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(sweep))
    swept = run(installed / "xmodal", "sweep", "one.yaml", cwd=tmp_path)
    assert swept.returncode == 0, swept.stderr[-2000:]
    assert swept.stdout.splitlines()[-1] == "report: swept/report/report.html"
    trained = read_report(tmp_path / "swept" / "cl-5" / "report")
    evaluated = run(installed / "xmodal", "zero-shot", "swept/cl-5", "--out", "again", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr[-2000:]
    again = {r.name: r.value for r in read_report(tmp_path / "again").records}
    assert again == pytest.approx({r.name: r.value for r in trained.records})
