"""docs/licences.md names every package that an installation may have, and what it says is what the packages say."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = ("Apache", "BSD", "MIT", "MPL", "GPL")


def told() -> dict[str, tuple[str, str]]:
    """Package -> its extra ("" for what is always there), and its licence."""
    rows = [line.strip("|").split("|") for line in (ROOT / "docs" / "licences.md").read_text().splitlines()]
    cells = [[cell.strip(" `") for cell in row] for row in rows if len(row) in (2, 4)]
    found = {}
    for row in (row for row in cells if row[0] not in ("package", "extra") and not row[0].startswith("---")):
        extra, packages, licence = ("", *row[:2]) if len(row) == 2 else row[:3]
        found |= {(canonicalize_name(package), extra): licence for package in packages.split(", ")}
    return {package: (extra, licence) for (package, extra), licence in found.items()}


def test_every_package_of_an_installation_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {"": project["dependencies"], **project["optional-dependencies"]}
    wanted.pop("dev")  # of the checkout alone
    named = {(canonicalize_name(Requirement(line).name), extra) for extra, lines in wanted.items() for line in lines}
    assert {(package, extra) for package, (extra, _) in told().items()} == named


@pytest.mark.parametrize("package", told())
def test_a_licence_is_that_of_the_package(package: str) -> None:
    try:
        metadata = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    fields = [
        line for field in ("License-Expression", "License", "Classifier") for line in metadata.get_all(field) or []
    ]
    stated = " ".join(line for line in fields if "::" not in line or line.startswith("License"))
    families = [family for family in FAMILIES if re.search(rf"\b{family}", told()[package][1])]
    if not stated.strip() or not families:
        pytest.skip(f"{package} states no licence, or one of its own: {stated[:60]!r}")
    assert any(re.search(rf"\b{family}", stated) for family in families), stated
