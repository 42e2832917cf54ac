"""Every command that README and docs show exists, takes the options it is given, and finds the config it names."""

import contextlib
import io
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from markdown_code import shown_commands

from xmodal.commands.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
    *(ROOT / "examples").glob("*.md"),
]
MAY_NAME_A_CONFIG = ("train", "sweep", "embed-frozen")  # one that is shipped, by its bare name


@cache
def help_of(command: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([command, "--help"])
    return printed.getvalue()


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist_and_take_these_options(page: Path) -> None:
    wrong = []
    for line in shown_commands(page):
        words = shlex.split(line.partition(" | ")[0], comments=True)
        command, arguments = words[1], words[2:]
        if command not in COMMANDS:
            if command != "run":  # the first line of what a run prints: "xmodal run runs/demo"
                wrong.append(f"{line}: no such command")
            continue
        options = [word.partition("=")[0] for word in arguments if re.match(r"--[a-z]", word)]
        wrong += [f"{line}: no option {o}" for o in options if not re.search(rf"{o}\b", help_of(command))]
        first = next((word for word in arguments if not word.startswith("-")), "")
        shipped = command in MAY_NAME_A_CONFIG and re.fullmatch(r"[a-z][\w/]*", first)
        if shipped and not (ROOT / "configs" / f"{first}.yaml").is_file():
            wrong.append(f"{line}: no config {first}")
    assert not wrong, "\n".join(wrong)


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text.\n\n    xmodal trian my.yaml\n    xmodal retrieval runs/a --tset x\n    xmodal train no_such_config\n"
    )
    with pytest.raises(AssertionError) as found:
        test_commands_exist_and_take_these_options(page)
    for problem in ("trian my.yaml: no such command", "no option --tset", "no config no_such_config"):
        assert problem in str(found.value)
