"""The three places that name versions agree: pyproject.toml, and the newest and the oldest set that are tested."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
FILES = ["constraints.txt", "constraints-oldest.txt"]


def pins(file):
    lines = [x for x in (ROOT / file).read_text().splitlines() if x and not x.startswith("#")]
    assert lines
    assert [x for x in lines if not re.fullmatch(r"[\w.-]+==[\w.+!-]+", x)] == []
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for line in [*project["dependencies"], *(x for extra in extras for x in extra)]]


@pytest.mark.parametrize("file", FILES)
def test_each_file_pins_every_dependency_to_a_version_that_is_allowed(file):
    found = pins(file)
    for wanted in requirements():
        assert wanted.specifier.contains(found[canonicalize_name(wanted.name)]), wanted


def test_the_oldest_file_has_the_lowest_version_of_every_dependency():
    found = pins("constraints-oldest.txt")
    for wanted in requirements():
        for bound in wanted.specifier:
            lowest = Version(bound.version).release
            assert Version(found[canonicalize_name(wanted.name)]).release[: len(lowest)] == lowest, wanted


def test_no_dependency_is_capped():
    operators = {wanted.name: {bound.operator for bound in wanted.specifier} for wanted in requirements()}
    operators.pop("clip_benchmark")  # what other evaluations are compared with is one version
    assert {name: found for name, found in operators.items() if not found <= {">="}} == {}
