"""The overview of all objectives is made of the registry, and every one has its page and its tests."""

from pathlib import Path

import pytest

from xmodal.commands.cli import main
from xmodal.config.kinds import OBJECTIVES
from xmodal.objectives.overview import entries, markdown

ROOT = Path(__file__).parents[2]


def test_the_table_in_the_docs_is_the_registrys():
    page = (ROOT / "docs" / "objectives" / "README.md").read_text()
    assert markdown() in page, "make it again: xmodal objectives --markdown"


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.kind)
def test_every_objective_has_a_file_a_page_tests_and_says_when_to_use_it(entry):
    page = (ROOT / "docs" / "objectives" / f"{entry.file}.md").read_text()
    assert f"`kind: {entry.kind}`" in page
    assert f"xmodal/objectives/{entry.file}.py" in page
    assert all(number in page for number in entry.source.split(", "))
    assert (ROOT / "tests" / "objectives" / entry.test).is_file()
    assert entry.use
    assert entry.cost


def test_the_command_names_every_kind(capsys):
    main(["objectives"])
    printed = capsys.readouterr().out
    assert all(f"\n{kind} (" in f"\n{printed}" for kind in OBJECTIVES.own)
    assert "arXiv 1503.03832, arXiv 2010.05113)" in printed
    assert "; https://" in printed
    assert "arXiv http" not in printed
