"""Code that a config names, of the folder the command is started in: found, or what is missing by its right name."""

import sys
from pathlib import Path

import pytest

from xmodal.config.imported import imported
from xmodal.config.kinds import OBJECTIVES
from xmodal.errors import UserError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_lies_here_is_found(here: Path) -> None:
    (here / "lying_here.py").write_text("class Mine:\n    part = 3\n")
    assert imported("lying_here:Mine.part") == 3


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("lies_nowhere:Mine", "lies_nowhere"),
        ("needs_another:Mine", "no_such_package"),
        ("a_package.part:Mine", "a_package.part"),
        ("a_package.needs:Mine", "no_such_package"),
    ],
)
def test_what_is_missing_is_named(here: Path, kind: str, missing: str) -> None:
    (here / "a_package").mkdir()
    (here / "a_package/__init__.py").touch()
    for file in ("needs_another.py", "a_package/needs.py"):
        (here / file).write_text("import no_such_package.deep\n")
    with pytest.raises(UserError, match=rf"{kind} cannot be imported \(No module named '{missing}': ") as error:
        OBJECTIVES.find(kind)
    assert "\n" not in str(error.value)
    assert str(here) not in sys.path
