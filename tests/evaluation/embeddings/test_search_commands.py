"""`xmodal embed`, `xmodal index` and `xmodal search` as they are typed, with a run of pictures and sentences."""

import base64
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from colour_encoder import paint
from picture_runs import make_pictures

from xmodal.commands import cli
from xmodal.config.load import load_config
from xmodal.errors import run_script
from xmodal.evaluation.embeddings.export import EmbeddedItems, read_embeddings, write_embeddings
from xmodal.evaluation.embeddings.hit_media import NO_ROOM, Budget, inside
from xmodal.evaluation.embeddings.page import page
from xmodal.evaluation.embeddings.search import Answer, Hit
from xmodal.evaluation.shown import SECONDS
from xmodal.training.trainer import Trainer

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pictures: Path, tiny_bert: Path) -> Path:
    """One step of training: any weights will do."""
    path = tmp_path_factory.mktemp("runs") / "run.yaml"
    path.write_text(
        f"""
output: {path.with_suffix("")}
data: {{train: {pictures / "train.jsonl"}}}
towers:
  image: {{kind: image_encoder, image_size: 16, widths: [8], norm: group}}
  text: {{kind: transformers, name: {tiny_bert}}}
objective: {{kind: infonce}}
train: {{steps: 1, batch_size: 16, threads: 1}}
"""
    )
    Trainer(load_config(path)).fit()
    return path.with_suffix("")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty folder; its exit code, and what it printed on either stream."""
    monkeypatch.chdir(tmp_path)

    def typed(*arguments: str | Path) -> tuple[int, str, str]:
        code = run_script(cli.main, list(map(str, arguments)))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return typed


@pytest.fixture
def embedded(call: Call, run: Path, pictures: Path, tmp_path: Path) -> Path:
    code, out, _ = call("embed", run, pictures / "test.jsonl", "--out", "photos.parquet")
    assert code == 0
    assert "note: column 'text' is left out: list<" in out
    return tmp_path / "photos.parquet"


def test_many_queries_as_json_with_a_filter(embedded: Path, run: Path, call: Call) -> None:
    options = ["--k", "3", "--where", "label=blue", "--json"]
    code, out, err = call("search", embedded, run, *options, "the red", "the blue")
    assert (code, err) == (0, "")
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["query"] for answer in answers] == ["the red", "the blue"]
    for answer in answers:
        assert (answer["items"], answer["searched"], answer["exact"], answer["where"]) == (24, 6, True, ["label=blue"])
        assert [hit["columns"] for hit in answer["hits"]] == [{"label": "blue"}] * 3
        assert all(hit["path"].startswith("photos/blue/") for hit in answer["hits"])
        scores = [hit["score"] for hit in answer["hits"]]
        assert scores == sorted(scores, reverse=True)
    code, out, err = call("search", embedded, run, "the red", "--where", "label=blue", "--k", "99")
    assert (code, len(out.splitlines())) == (0, 6)
    assert err == "note: 6 items to search, fewer than --k 99\n"


def test_a_file_typed_as_a_text_is_told(embedded: Path, run: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "like.png").write_bytes(b"")
    code, _, said = call("search", embedded, run, "like.png", "x" * 5000)
    assert code == 0
    told = "note: like.png: there is a file of that name; searched for the words, --modality image takes the file"
    assert [line for line in said.splitlines() if "of that name" in line] == [told]


def test_queries_from_standard_input(
    embedded: Path, run: Path, call: Call, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    picture = next((pictures / "photos" / "red").iterdir())
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{picture}\n\nnowhere.png\n{picture}\n"))
    code, out, err = call(
        "search", embedded, run, "--queries", "-", "--modality", "image", "--k", "1", "--html", "h.html"
    )
    assert code == 2
    blocks = out.split("\n\n")
    assert len(blocks) == 3
    assert re.fullmatch(rf"{picture}:\n\+1\.000  p\d+", blocks[0])
    assert blocks[2] == "page: h.html\n"
    assert err.startswith("not answered: nowhere.png: image: ")
    assert err.endswith("error: search: 1 of 3 queries were not answered; each is named above\n")
    text = Path("h.html").read_text()
    assert "<title>2 queries</title>" in text
    assert text.count("data:image/png;base64,") == 4  # two queries and their hits


def test_a_query_that_is_not_utf_8_costs_no_other(
    embedded: Path, run: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.TextIOWrapper(io.BytesIO(b"the red\n\xff\xfe\nthe blue\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", typed)
    code, out, err = call("search", embedded, run, "--queries", "-", "--k", "1")
    assert (code, out.count("p"), [line for line in out.splitlines() if ":" in line]) == (
        2,
        2,
        ["the red:", "the blue:"],
    )
    assert err.count("search: a query that is not UTF-8; convert it\n") == 1
    assert err.endswith("error: search: 1 of 3 queries were not answered; each is named above\n")
    as_given = os.fsdecode(b"caf\xe9")  # as Python hands over what is typed
    code, _, err = call("search", embedded, run, as_given)
    assert (code, err) == (2, "error: search: a query that is not UTF-8; convert it\n")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("latin.txt", b"caf\xe9\n", "latin.txt: not UTF-8 (invalid continuation byte); convert it"),
        ("wide.txt", "the red".encode("utf-16"), "wide.txt: not UTF-8 (invalid start byte); convert it"),
        ("blank.txt", b"\n \n", "blank.txt: no query in it; expected one a line"),
        ("/dev/null", None, "/dev/null: no query in it; expected one a line"),
        (".", None, ".: is a folder, expected a file with one query a line"),
    ],
)
def test_files_without_queries(
    embedded: Path, run: Path, call: Call, name: str, content: bytes | None, told: str
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    assert call("search", embedded, run, "--queries", name) == (2, "", f"error: --queries: {told}\n")


def test_a_page_does_not_take_the_place_of_a_link_to_nothing(embedded: Path, run: Path, call: Call) -> None:
    Path("hits.html").symlink_to("gone.html")
    code, _, err = call("search", embedded, run, "the red", "--html", "hits.html")
    told = "error: --html: hits.html: in the way, a link to nothing; choose another name, or remove it\n"
    assert (code, err) == (2, told)
    assert Path("hits.html").is_symlink()


def test_no_page_of_the_whole_disk(embedded: Path, run: Path, call: Call) -> None:
    items = read_embeddings(embedded)
    items.info["root"] = "/"
    write_embeddings(embedded, items, overwrite=True)
    code, out, err = call("search", embedded, run, "the red", "--html", "hits.html")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {embedded}: made over /, so a page could show what lies anywhere on the disk; embed")
    assert not Path("hits.html").exists()
    assert call("search", embedded, run, "the red")[0] == 0


def test_an_index_from_embed_to_search(run: Path, pictures: Path, call: Call, tmp_path: Path) -> None:
    pytest.importorskip("usearch", reason="needs the extra search")
    code, out, _ = call("embed", run, pictures / "photos", "--out", "photos.parquet", "--index")
    assert code == 0
    assert "photos.usearch: index of 24 items in 0 s; recall@10 against the exact search 1.000 of items" in out
    plain = call("search", "photos.parquet", run, "the red", "--k", "5")
    assert plain == call("search", "photos.parquet", run, "the red", "--k", "5", "--exact")
    assert len(plain[1].splitlines()) == 5
    call("embed", run, pictures / "train.jsonl", "--out", "other.parquet", "--no-index")
    (tmp_path / "photos.usearch").rename(tmp_path / "other.usearch")
    code, out, err = call("search", "other.parquet", run, "the red", "--k", "1")
    assert (code, len(out.splitlines())) == (0, 1)
    assert err.startswith("note: other.usearch: the index of other embeddings than those in other.parquet; searched")
    code, out, _ = call("index", "other.parquet")
    assert (code, out.split(":")[0]) == (0, "other.usearch")
    assert call("search", "other.parquet", run, "the red", "--k", "1")[2] == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["the red", "--where", "colour=red"], "where: no column 'colour'; the embeddings have id, path, label"),
        (["the red", "--where", "label"], "where: found 'label', expected COLUMN=VALUE"),
        (
            ["the red", "--where", "label=red", "--where", "label=blue"],
            "search: no item of 24 meets label=red, label=blue",
        ),
        ([], "search: expected queries, or --queries FILE, one of the two"),
        (["the red", "--queries", "-"], "search: expected queries, or --queries FILE, one of the two"),
        (["--queries", "gone.txt"], "gone.txt: no such file"),
        (["the red", "--k", "0"], "--k: found 0, expected a whole number, 1 or more"),
        (["the red", "--modality", "speech"], "modality 'speech': "),
        (["the red", "--html", "hits.txt"], "--html: hits.txt: expected a name that ends in .html"),
    ],
)
def test_mistakes(arguments: list[str], told: str, embedded: Path, run: Path, call: Call, tmp_path: Path) -> None:
    code, out, err = call("search", embedded, run, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {told}")
    assert err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["photos.parquet"]


def test_an_index_where_none_can_be(run: Path, pictures: Path, call: Call, tmp_path: Path) -> None:
    code, _, err = call("embed", run, pictures / "photos", "--out", "x.npy", "--index")
    assert (code, err) == (
        2,
        "error: x.npy: an index goes beside a parquet file; give --out a name that ends in .parquet\n",
    )
    code, _, err = call("index", "gone.parquet")
    assert (code, err) == (2, "error: gone.parquet: no such file; make it with xmodal embed\n")
    assert [*tmp_path.iterdir()] == []


# -------------------------------------------------------------------------------------------------------------- sounds


def sounds(folder: Path) -> EmbeddedItems:
    """Two recordings, what is none, one that is gone; one outside the folder."""
    (folder / "calls").mkdir()
    soundfile.write(folder / "calls" / "short.flac", np.zeros(8000), 8000)
    soundfile.write(folder / "calls" / "long.wav", np.zeros(8000 * (SECONDS + 3)), 8000)
    (folder / "calls" / "page.wav").write_text("<script>")
    soundfile.write(folder / "secret.wav", np.zeros(800), 8000)
    values: list[str | None] = ["short.flac", "long.wav", "page.wav", "gone.wav", "../secret.wav", None]
    info = {"model": "m", "modality": "speech", "kind": "audio", "root": str(folder / "calls"), "dim": 2}
    return EmbeddedItems([f"call {n}" for n in range(6)], values, np.ones((6, 2), np.float32), info)


def test_players_of_the_beginnings_of_recordings(tmp_path: Path) -> None:
    items, budget = sounds(tmp_path), Budget()
    hits = [Hit(name, 0.5, value, row) for row, (name, value) in enumerate(zip(items.ids, items.values, strict=True))]
    answer = Answer("hello", "text", hits, searched=6, exact=True)
    text = page(items, [answer], budget=budget)
    players = re.findall(r'<audio controls [^>]*src="data:(audio/[^;]+);base64,([^"]+)"', text)
    lengths = [soundfile.info(io.BytesIO(base64.b64decode(data))).duration for _, data in players]
    assert lengths == pytest.approx([1, SECONDS], abs=0.2)
    assert f"(the first {SECONDS} of {SECONDS + 3} s)" in text
    assert text.count("no player") == 4
    assert budget.line() == (
        "pictures or recordings that are not on the page: gone or broken (2), outside the folder that was embedded (2)"
    )
    small = Budget(left=10)
    assert "<audio controls" not in page(items, [answer], budget=small)
    assert small.left_out[NO_ROOM] == 2
    assert inside("../secret.wav", tmp_path / "calls") is None


def test_a_picture_outside_the_folder_is_not_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    paint(tmp_path / "secret.png", "red")
    info = {"model": "m", "modality": "image", "kind": "image", "root": str(tmp_path / "photos"), "dim": 3}
    items = EmbeddedItems(["a"], ["../secret.png"], np.ones((1, 3), np.float32), info)
    assert "data:image" not in page(items, [Answer("red", "text", [Hit("a", 1.0, "../secret.png", 0)], 1, True)])
