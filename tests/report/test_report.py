"""A report's folder: what goes in comes out, HTML stands alone, an older report survives a crash.

Over 300 lines: every part of one report is looked at through the same few tables.
"""

import io
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xmodal.errors import UserError
from xmodal.report import PREDICTION_COLUMNS, Record, Report, find_report, read_report
from xmodal.report.markdown import markdown


def png(colour: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 3), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def example() -> Report:
    predictions = pd.DataFrame(
        [("heldout", "accuracy_mean", "u1", "s1", "a", "b", 0.25, False),
         ("heldout", "accuracy_mean", "u2", "s2", "b", "b", 0.75, True)],
        columns=list(PREDICTION_COLUMNS),
    )  # fmt: skip
    return Report(
        records=[
            Record("heldout", "accuracy_mean", 0.5, 0.1, 0.9, 2, 0.5, {"candidates": ["a", "b"], "tts": True}),
            Record("heldout", "floor", np.float32("nan"), None, math.inf, 1200, None, {"tts": True}),
        ],
        provenance={"run": {"config": {"seed": 3, "lr": 1e-3, "betas": (0.9, np.float64(0.98))}}, "nothing": None},
        predictions=predictions,
        tables={"Per | intent": pd.DataFrame({"intent": ["a<b>", "b"], "n": [1, 1], "recall": [0.0, math.nan]})},
        figures={"Loss & accuracy": png(), "loss, accuracy": png(9)},
        notes=["the speech is <TTS>", "classes seen in training"],
        title="Demo & friends",
    )


def test_round_trip(tmp_path):
    report = example()
    report.write(tmp_path / "report")
    found = read_report(tmp_path / "report")
    assert found.records == report.records
    assert found.provenance == {
        "run": {"config": {"seed": 3, "lr": 1e-3, "betas": [0.9, 0.98]}},
        "nothing": None,
    }
    pd.testing.assert_frame_equal(found.predictions, report.predictions)
    pd.testing.assert_frame_equal(found.tables["Per | intent"], report.tables["Per | intent"])
    assert (found.figures, found.notes, found.title) == (report.figures, report.notes, report.title)


def test_files_and_schema(tmp_path):
    example().write(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "figures/loss_accuracy.png",
        "figures/loss_accuracy_2.png",
        "predictions.parquet",
        "report.html",
        "report.json",
        "report.md",
    ]

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert set(content) >= {"records", "provenance", "notes"}
    keys = ["dataset", "metric", "value", "low", "high", "n", "chance", "context"]
    assert [list(r) for r in content["records"]] == [keys, keys]
    assert [content["records"][1][k] for k in ("value", "low", "high", "chance")] == [None] * 4
    assert list(pd.read_parquet(tmp_path / "predictions.parquet").columns) == list(PREDICTION_COLUMNS)


class Page(HTMLParser):
    """Collects tags and addresses, and checks that every tag that opens closes in order."""

    void = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.images: list[dict] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_html_stands_alone(tmp_path):
    example().write(tmp_path)
    source = (tmp_path / "report.html").read_text()
    page = Page()
    page.feed(source)
    page.close()
    assert page.open == []
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert page.addresses
    assert all(a.startswith("data:image/png;base64,") for a in page.addresses)
    assert not re.search(r"url\(|@import|https?://", source)
    assert [i["alt"] for i in page.images] == ["Loss & accuracy", "loss, accuracy"]
    words = " ".join(page.words)
    for shown in ("Demo & friends", "the speech is <TTS>", "a<b>", "[0.100, 0.900]", "1,200", "run.config.betas"):
        assert shown in words
    assert page.words.index("the speech is <TTS>") < page.words.index("Results")  # honesty before numbers


def test_tables_scroll_inside_their_own_box(tmp_path):
    example().write(tmp_path)
    source = (tmp_path / "report.html").read_text()
    assert source.count("<table") == len(re.findall(r'<div class="scroll"[^>]*>\s*<table', source))


def test_terminal_table():
    lines = example().to_text().splitlines()
    assert lines == [
        "Demo & friends",
        "",
        "dataset  metric         value [95% interval]     n  chance",
        "-------  -------------  --------------------  ----  ------",
        "heldout  accuracy_mean  0.500 [0.100, 0.900]     2   0.500",
        "heldout  floor          –                     1200       –",
        "",
        "note: the speech is <TTS>",
        "note: classes seen in training",
    ]


def test_markdown(tmp_path):
    example().write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| heldout | accuracy_mean | 0.500 | [0.100, 0.900] | 2 | 0.500 |" in text
    assert (
        "- **tts**: yes\n\n|  | accuracy |\n| --- | --- |\n| candidates | a, b |" in text
    )  # what all share, then by family
    for picture in re.findall(r"\]\((.*?)\)", text):
        assert (tmp_path / picture).is_file()
    assert text.index("> - the speech is &lt;TTS>") < text.index("## Results")


def test_value():
    report = example()
    assert report.value("accuracy_mean") == report.value("heldout/accuracy_mean") == 0.5
    assert math.isnan(report.value("floor", "heldout"))
    with pytest.raises(UserError, match="'heldout/recall': 0 records go by it, expected one of: heldout/accuracy_mean"):
        report.value("recall", "heldout")
    twice = report.merge(Report([Record("unseen", "accuracy_mean", 0.25)]))
    assert twice.value("accuracy_mean", "unseen") == 0.25
    with pytest.raises(UserError, match="2 records"):
        twice.value("accuracy_mean")


def test_merge_loses_nothing():
    one, two = example(), example()
    two.figures["Loss & accuracy"] = png(200)
    two.provenance["nothing"] = "something"
    both = one.merge(two)
    assert len(both.records) == len(both.predictions) == 4
    assert list(both.figures) == ["Loss & accuracy", "loss, accuracy", "Loss & accuracy (2)"]
    assert list(both.tables) == ["Per | intent"]
    assert both.provenance["nothing"] is None
    assert both.provenance["nothing (2)"] == "something"
    assert both.notes == one.notes
    assert len(one.records) == 2  # neither is changed


def test_an_empty_report_is_a_report(tmp_path):
    assert Report(title="Nothing").to_text() == "Nothing\n\nnothing was measured"
    assert markdown(Report(title="Nothing"), {}) == "# Nothing\n\n## Results\n\nNothing was measured.\n"
    Report().write(tmp_path)
    assert read_report(tmp_path).records == []
    assert list(read_report(tmp_path).predictions.columns) == list(PREDICTION_COLUMNS)


def test_predictions_need_their_columns():
    with pytest.raises(ValueError, match="columns cluster, true"):
        Report(predictions=pd.DataFrame(columns=["dataset", "protocol", "item", "predicted", "score", "correct"]))


def test_a_crash_leaves_the_older_report(tmp_path):
    folder = tmp_path / "report"
    example().write(folder)
    (folder / "mine.txt").write_text("a user's own")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    broken = example()
    broken.figures["third"] = 3  # not bytes: raises when all other files are already made
    with pytest.raises(TypeError):
        broken.write(folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    with pytest.raises(TypeError):
        broken.write(tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()


def test_a_newer_report_replaces_all_of_the_older_and_nothing_else(tmp_path):
    example().write(tmp_path)
    (tmp_path / "mine.txt").write_text("a user's own")
    (tmp_path / "figures" / "mine.png").write_bytes(png())
    Report([Record("new", "accuracy", 1.0)], figures={"other": png()}).write(tmp_path)
    assert [r.dataset for r in read_report(tmp_path).records] == ["new"]
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["mine.png", "other.png"]
    assert (tmp_path / "mine.txt").read_text() == "a user's own"
    assert not list(tmp_path.glob(".report*"))


@pytest.mark.parametrize("moved", [(), ("report.html", "predictions.parquet")])
def test_killed_while_files_moved_into_place(tmp_path, moved):
    """The state a kill leaves: the new report complete in `.report.ready`, some of its files moved already."""
    folder, new = tmp_path / "report", tmp_path / "new"
    example().write(folder)
    Report([Record("new", "accuracy", 1.0)], figures={"other": png()}).write(new)
    shutil.copytree(new, folder / ".report.ready")
    for name in moved:
        (folder / ".report.ready" / name).replace(folder / name)
    found = read_report(find_report(tmp_path))
    assert [r.dataset for r in found.records] == ["new"]
    assert len(found.predictions) == 0
    assert sorted(p.name for p in folder.rglob("*")) == sorted(p.name for p in new.rglob("*"))


def test_no_report_there(tmp_path):
    with pytest.raises(UserError, match="no report there"):
        read_report(tmp_path)
    with pytest.raises(UserError, match="no report there"):
        find_report(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        find_report(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", ["report.json", "predictions.parquet", "figures/loss_accuracy.png"])
def test_a_damaged_report_says_so_in_one_line(tmp_path, damage):
    example().write(tmp_path)
    if damage.endswith(".png"):
        (tmp_path / damage).unlink()
    else:
        (tmp_path / damage).write_bytes((tmp_path / damage).read_bytes()[:40])
    with pytest.raises(UserError, match="the report is damaged") as caught:
        read_report(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["report.md", "report.json", "predictions.parquet", "figures/other.png", "figures"])
def test_another_programs_files_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    report = Report([Record("new", "accuracy", 1.0)], figures={"other": png()})
    with pytest.raises(UserError, match=rf"{name.partition('/')[0]}.*: in the way, and no part of a report"):
        report.write(tmp_path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [Path(name).name]
    assert (tmp_path / name).read_text() == "mine"


WRITER = """
import sys
from pathlib import Path
from xmodal.report.report import Record, Report
for n in range(40):
    Report([Record(sys.argv[2], "accuracy", 0.5)], title=sys.argv[2]).write(Path(sys.argv[1]))
"""


def test_two_writers_leave_one_whole_report(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, name]) for name in ("one", "two")]
    assert [writer.wait() for writer in writers] == [0, 0]
    found = read_report(tmp_path)
    assert found.records[0].dataset == found.title
    assert f"<title>{found.title}</title>" in (tmp_path / "report.html").read_text()
    assert not list(tmp_path.glob(".report*"))


def test_figures_of_an_edited_index_reach_nothing_else(tmp_path: Path) -> None:
    Report([Record("new", "accuracy", 1.0)], figures={"other": png()}).write(tmp_path / "r")
    (tmp_path / "secret.png").write_bytes(b"secret")
    index = json.loads((tmp_path / "r" / "report.json").read_text())
    index["figures"] = {"a": "../secret.png", "b": str(tmp_path / "secret.png"), "other": "figures/other.png"}
    (tmp_path / "r" / "report.json").write_text(json.dumps(index))
    assert read_report(tmp_path / "r").figures == {"other": png()}


def test_small_numbers_and_labels_that_look_like_html(tmp_path: Path) -> None:
    table = pd.DataFrame({"label": ["<script>alert(1)</script>", "a & b"]})
    record = Record("<b>", "recall@1", 0.0123, chance=1 / 5000)
    Report([record], tables={"t": table}, notes=["<i>note</i>"]).write(tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert "0.0002" in markdown
    assert "<script" not in markdown
    assert "<i>" not in markdown
    assert "a &amp; b" in markdown


def test_unlike_chances_stand_with_their_numbers_in_page_and_markdown(tmp_path: Path) -> None:
    records = [Record("digits", "acc1", 0.7, 0.6, 0.8, 3000, 0.1), Record("digits", "acc5", 0.9, 0.85, 0.95, 3000, 0.5)]
    Report(records=records).write(tmp_path / "r")
    text = (tmp_path / "r" / "report.md").read_text()
    told = "| digits |  | 0.700 [0.600, 0.800] (chance 0.100) | 0.900 [0.850, 0.950] (chance 0.500) | 3,000 |"
    assert told in text.splitlines()
    page = (tmp_path / "r" / "report.html").read_text()
    assert "chance 0.100" in page
    assert "chance 0.500" in page
