"""Configs, sweeps and suites by bare name: a path comes first, and a wrong name tells the nearest."""

import tarfile
from pathlib import Path

import pytest
from run_script import ROOT

from xmodal.commands.data.prepare import main as prepare
from xmodal.commands.evaluate.suite import read_suite
from xmodal.commands.paths import find_yaml, shipped
from xmodal.config.load import load_config
from xmodal.errors import UserError


def test_a_bare_name_is_the_shipped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_yaml("demo_cwcl").samefile(ROOT / "configs" / "demo_cwcl.yaml")
    assert find_yaml("fsdd", "sweeps").samefile(ROOT / "configs" / "sweeps" / "fsdd.yaml")
    assert find_yaml("sweeps/fsdd", "sweeps").samefile(ROOT / "configs" / "sweeps" / "fsdd.yaml")
    assert load_config(find_yaml("demo_cwcl")).output == Path("runs/demo")
    assert "imagenet_v2" in read_suite(find_yaml("imagenet", "suites"))
    (tmp_path / "demo_cwcl").mkdir()  # a folder is no config
    assert find_yaml("demo_cwcl").samefile(ROOT / "configs" / "demo_cwcl.yaml")


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo_cwcl").touch()
    assert find_yaml("demo_cwcl") == Path("demo_cwcl")


@pytest.mark.parametrize("folder", ["", "sweeps", "suites"])
def test_every_shipped_file_has_a_name(folder: str) -> None:
    there = ROOT / "configs" / folder
    inside = [path.relative_to(there).with_suffix("") for path in there.rglob("*.yaml")]
    no_runs = () if folder else ("base", "sweeps", "suites")
    assert shipped(folder) == sorted(path.as_posix() for path in inside if path.parts[0] not in no_runs)
    for name in shipped(folder):
        assert find_yaml(name, folder).is_file()


@pytest.mark.parametrize(
    ("typed", "folder", "line"),
    [
        ("demo_cwlc", "", "and nothing of this name is shipped with xmodal; did you mean demo_cwcl?"),
        ("fsdd", "", "fsdd: no such file, and nothing of this name is shipped with xmodal; did you mean fsdd_cwcl?"),
        ("zzz", "suites", "zzz: no such file, and nothing of this name is shipped with xmodal; shipped are imagenet"),
        ("configs/sweeps/fsdd.yaml", "sweeps", "fsdd.yaml: no such file; the one shipped with xmodal is called fsdd"),
        ("mian.yaml", "", "mian.yaml: no such file; did you mean main.yaml?"),
        (".", "", ".: is a folder, expected a YAML file"),
    ],
)
def test_a_wrong_name(typed: str, folder: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.yaml").touch()
    with pytest.raises(UserError) as error:
        find_yaml(typed, folder)
    assert str(error.value).endswith(line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("root", ["one.tar", "o*.tar", "folder"])
def test_a_corpus_may_be_a_folder_a_file_or_a_pattern(root: str, tmp_path: Path) -> None:
    """What holds no pairs is refused by the corpus' own reader, not because it is no folder."""
    for name in ("one.tar", "folder/one.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tarfile.open(tmp_path / name, "w").close()
    with pytest.raises(UserError) as error:
        prepare(["cc3m", str(tmp_path / root), str(tmp_path / "out")])
    assert "no such" not in str(error.value)
    assert "no .tar there" not in str(error.value)
