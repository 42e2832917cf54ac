"""Items that a report shows: they come back as they went in, only from its own folder, and a page has a limit."""

import dataclasses
import json
from pathlib import Path

import pytest

from xmodal.errors import UserError
from xmodal.report import Record, Report, read_report, render
from xmodal.report.examples import Example, in_page

ERRORS = "digits: the most confident errors"


def example(number: int, size: int = 10) -> Example:
    return Example(f"u{number}", "one", "<two>", 0.25, bytes([number]) * size, ".mp3", "say “one”", "(cut)")


def report() -> Report:
    picture = Example("p", "cat", "dog", float("nan"), b"jpeg", ".jpg")
    return Report([Record("digits", "acc1", 0.5)], examples={ERRORS: [example(1), example(2)], "pictures": [picture]})


def test_round_trip(tmp_path: Path) -> None:
    report().write(tmp_path)
    found = read_report(tmp_path).examples
    assert found[ERRORS] == report().examples[ERRORS]
    assert (found["pictures"][0].media, found["pictures"][0].suffix) == (b"jpeg", ".jpg")
    files = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert files == [f"digits_the_most_confident_errors{n}.mp3" for n in ("", "_2")] + ["pictures.jpg"]
    text = (tmp_path / "report.md").read_text()
    assert "| [listen](figures/digits_the_most_confident_errors_2.mp3) | one | &lt;two> |" in text
    assert "| ![](figures/pictures.jpg) | cat | dog | – |" in text
    Report().write(tmp_path)
    assert not list((tmp_path / "figures").iterdir())  # an older report's recordings go with it


def test_an_edited_index_reaches_no_other_file(tmp_path: Path) -> None:
    report().write(tmp_path / "r")
    (tmp_path / "secret.mp3").write_bytes(b"secret")
    index = json.loads((tmp_path / "r" / "report.json").read_text())
    index["examples"][ERRORS][0]["file"] = "figures/../../secret.mp3"
    (tmp_path / "r" / "report.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"the report is damaged .*none of the report's"):
        read_report(tmp_path / "r")
    Report().write(tmp_path / "r")
    assert (tmp_path / "secret.mp3").is_file()


def test_reports_of_earlier_versions_have_none(tmp_path: Path) -> None:
    report().write(tmp_path)
    index = json.loads((tmp_path / "report.json").read_text())
    del index["examples"], index["answer"]
    (tmp_path / "report.json").write_text(json.dumps(index))
    assert (read_report(tmp_path).examples, read_report(tmp_path).answer) == ({}, [])


def test_a_page_holds_the_first_of_every_group_before_the_second() -> None:
    groups = {"a": [example(n) for n in range(3)], "b": [example(n, 15) for n in range(3)]}
    assert {title: len(held) for title, held in in_page(groups, 40).items()} == {"a": 2, "b": 1}
    assert in_page({}) == {}


def test_the_page_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "<audio controls" in render.html(report())
    assert "left out" not in render.html(report())
    large = dataclasses.replace(report(), examples={ERRORS: [example(n, 1_600_000) for n in range(3)]})
    page = render.html(large)
    assert page.count("<audio controls") == 1
    assert "1 items, 1,600 kB (a page holds at most 3 MB of them). 2 more are left out of this page" in page
    assert "&lt;two&gt;" in page


def test_a_kind_of_file_that_no_browser_plays() -> None:
    with pytest.raises(ValueError, match=r"suffix '\.txt': expected one of \.jpg"):
        Example("u", "a", "b", 0.1, b"", ".txt")
