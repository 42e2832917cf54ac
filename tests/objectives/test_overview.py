"""The overview of all objectives is made of the registry, and every one has its page and its tests."""

import sys
from pathlib import Path

import pytest
import yaml

from xmodal.commands.cli import main
from xmodal.config.kinds import OBJECTIVES
from xmodal.config.load import load_config
from xmodal.errors import run_script
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


def test_the_command_names_every_kind_by_family(capsys):
    main(["objectives"])
    lines = capsys.readouterr().out.splitlines()
    families = list(dict.fromkeys(map(family_of, entries())))
    assert [line for line in lines if line and line[0] != " "][:-1] == families
    ordered = sorted(entries(), key=lambda entry: families.index(family_of(entry)))
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [entry.kind for entry in ordered]


def family_of(entry):
    return entry.file.partition("/")[0]


TOWERS = {"image": {"kind": "image_encoder"}, "text": {"kind": "transformers", "name": "b", "mode": "unlocked"}}


@pytest.mark.parametrize("kind", OBJECTIVES.own)
def test_what_it_prints_of_one_is_all_that_a_config_needs(kind, capsys, tmp_path):
    main(["objectives", kind])
    printed = capsys.readouterr().out
    assert "when:    " in printed
    assert "arXiv http" not in printed
    blocks = [block.partition(":\n\n")[2].partition("\n\n")[0] for block in printed.split("\n\nin a config")[1:]]
    least, most = OBJECTIVES.find(kind).Spec.takes
    for sides, block in zip([["image"], ["image", "text"]][least - 1 : most], blocks, strict=True):
        pasted = yaml.safe_load(block)
        towers = {side: TOWERS[side] | pasted.get("towers", {}).get(side, {}) for side in sides}
        data = pasted.get("data", {}) | {"train": "t.jsonl"}
        file = tmp_path / f"{len(sides)}.yaml"
        file.write_text(yaml.safe_dump({"output": "runs/a"} | pasted | {"towers": towers, "data": data}))
        config = load_config(file)
        term = config.term_specs()["objective"]
        assert config.groups(term) == (tuple(sides),)
        on = {"on": sides} if len(sides) == 1 else {}
        assert term == OBJECTIVES.spec(kind).model_validate({"kind": kind, **on})


def test_a_kind_that_is_not_there(capsys):
    assert run_script(main, ["objectives", "cwc"]) == 2
    assert "did you mean cwcl?" in capsys.readouterr().err


def test_a_class_of_somebody_elses(tmp_path, monkeypatch, capsys):
    (tmp_path / "their_losses.py").write_text(
        "from xmodal.objectives import CWCL\n\nclass Mine(CWCL):\n    'Mine.'\n\nclass Other:\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    main(["objectives", "their_losses:Mine"])
    printed = capsys.readouterr().out
    assert "kind: their_losses:Mine" in printed
    assert "page:" not in printed
    assert run_script(main, ["objectives", "their_losses:Other"]) == 2
    assert run_script(main, ["objectives", "no_losses:Mine"]) == 2
    assert "start in the folder where it lies" in capsys.readouterr().err
