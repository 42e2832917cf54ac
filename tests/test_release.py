"""What the files around the code say of it: one version everywhere, and forms that GitHub and citation tools read."""

import importlib.metadata
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

import xmodal

ROOT = Path(__file__).resolve().parent.parent


def read(name: str) -> Any:
    """A YAML file of the repository."""
    return yaml.safe_load((ROOT / name).read_text())


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    entries = re.findall(r"^## \[(.+?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert entries[0][0] == xmodal.__version__
    versions = [tuple(map(int, version.split("."))) for version, _ in entries]
    assert versions == sorted(set(versions), reverse=True)
    dates = [date.fromisoformat(day) for _, day in entries]
    assert dates == sorted(dates, reverse=True)


def test_the_citation_names_this_version() -> None:
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what version 1.2.0 of the form asks for
    assert citation["version"] == xmodal.__version__
    assert citation["license"] == importlib.metadata.metadata("xmodal")["License-Expression"]
    assert f"## [{citation['version']}] - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text()


def test_a_file_of_other_peoples_comes_with_its_licence() -> None:
    files = [path for path in (ROOT / "xmodal").rglob("*") if path.suffix in {".yaml", ".txt", ".css", ".j2"}]
    named = {who for path in files for who in re.findall(r"Copyright \(c\) \d+,? [\w ]*\w", path.read_text("utf-8"))}
    assert named == {"Copyright (c) 2021 OpenAI", "Copyright (c) 2022, Mehdi Cherti"}
    licence = (ROOT / "NOTICE").read_text()
    page = " ".join((ROOT / "docs/licences.md").read_text().split())
    assert all(who in licence and who in page for who in named)
    assert "Permission is hereby granted, free of charge" in licence
    assert '"NOTICE"' in (ROOT / "pyproject.toml").read_text().partition("license-files = ")[2].partition("\n")[0]


PAGES = ["README.md", "docs/index.md", "docs/teach.md"]
PAGES += [f"docs/tutorials/{page}.md" for page in ("images", "own_modalities", "teach")]


@pytest.mark.parametrize("page", PAGES)
def test_the_wheel_that_a_page_installs_is_this_versions(page: str) -> None:
    named = set(re.findall(r"xmodal-([\d.]+)-py3-none-any\.whl", (ROOT / page).read_text()))
    assert named == {xmodal.__version__}


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_issue_forms_have_what_github_asks_for(form: str) -> None:
    found = read(f".github/ISSUE_TEMPLATE/{form}.yml")
    assert {"name", "description", "body"} <= found.keys()
    fields = [field for field in found["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    ids = [field["id"] for field in fields]
    assert ids
    assert len(set(ids)) == len(ids)
    for field in found["body"]:
        assert field["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        assert set(field) <= {"type", "id", "attributes", "validations"}


def test_the_hooks_are_the_linters_of_make_lint() -> None:
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    for hook in read(".pre-commit-config.yaml")["repos"][0]["hooks"]:
        command = hook["entry"].removesuffix(" --force-exclude").removesuffix(" --fix")
        assert f"$(BIN)/{command}" in lint, f"make lint runs no {command}"
