"""Retrieval on vectors made by hand: an item's score is one coordinate of the query."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from xmodal.encoding.encoder import Encoder, Item
from xmodal.errors import UserError
from xmodal.evaluation.retrieval import contact_sheet
from xmodal.evaluation.retrieval.retrieval import Retrieval
from xmodal.evaluation.runs.compare import compare
from xmodal.evaluation.statistics.metrics import bootstrap_interval
from xmodal.report.report import Report

# Images are the axes; a caption's coordinates are its scores with a.png, b.png, c.png.
CAPTIONS = {
    "a one": ("a", (0.9, 0.1, 0.2)),  # right at once
    "a two": ("a", (0.1, 0.7, 0.3)),  # its image comes third
    "b one": ("b", (0.5, 0.4, 0.1)),  # second
    "b two": ("b", (0.3, 0.8, 0.0)),  # first
    "c one": ("c", (0.6, 0.6, 0.6)),  # all equal: its image is the last of three
}
# To captions: a has 0.9 0.1 | 0.5 0.3 0.6: first, and fifth. b 0.4 0.8 against 0.1 0.7 0.6: first, and fourth.
# c 0.6 against 0.2 0.3 0.1 0.0: first.


class ByTable(Encoder):
    """Embeddings out of a table, by text or by file name; a file that is not in it cannot be read."""

    def __init__(self, vectors: dict[str, Sequence[float]], **kinds: str) -> None:
        super().__init__({}, {name: SimpleNamespace(kind=kind) for name, kind in kinds.items()}, name="table")
        self.vectors = {name: torch.tensor(z, dtype=torch.float32) for name, z in vectors.items()}
        self.asked: list[str] = []

    def encode_readable(
        self,
        modality: str,
        items: Sequence[Item],
        sample_rate: int | None = None,
        batch_size: int | None = None,
        progress: str | None = None,
    ) -> tuple[torch.Tensor, list[int], list[tuple[int, str]]]:
        names = [str(item) if modality == "text" else Path(str(item)).name for item in items]
        self.asked += names
        kept = [i for i, name in enumerate(names) if name in self.vectors]
        skipped = [(i, f"{name}: unreadable") for i, name in enumerate(names) if name not in self.vectors]
        z = torch.stack([self.vectors[names[i]] for i in kept]) if kept else torch.empty(0, 3)
        return z, kept, skipped


def write(folder: Path, rows: list[dict]) -> Retrieval.Spec:
    (folder / "test.jsonl").write_text("".join(json.dumps({"id": str(i)} | row) + "\n" for i, row in enumerate(rows)))
    return Retrieval.Spec(test=folder / "test.jsonl", ks=(1, 2))


VECTORS = {f"{name}.png": z for name, z in zip("abc", np.eye(3).tolist(), strict=True)}
VECTORS |= {text: z for text, (_, z) in CAPTIONS.items()}
PAIRS = [{"image": f"{name}.png", "text": text} for text, (name, _) in CAPTIONS.items()]


def evaluate(folder: Path, rows: list[dict] = PAIRS, **more: object) -> Report:
    spec = write(folder, rows).model_copy(update=more)
    return Retrieval(spec).evaluate(ByTable(VECTORS), "t", brief=True)


def values(report: Report) -> dict[str, float | None]:
    return {r.metric: r.value for r in report.records}


EXPECTED = {
    "text_to_image_recall@1": 2 / 5,
    "text_to_image_recall@2": 3 / 5,
    "text_to_image_median_rank": 2,
    "text_to_image_mean_rank": (1 + 3 + 2 + 1 + 3) / 5,
    "text_to_image_map@10": (1 + 1 / 3 + 1 / 2 + 1 + 1 / 3) / 5,
    "image_to_text_recall@1": 1,
    "image_to_text_recall@2": 1,
    "image_to_text_median_rank": 1,
    "image_to_text_mean_rank": 1,
    "image_to_text_map@10": ((1 + 2 / 5) / 2 + (1 + 2 / 4) / 2 + 1) / 3,
}


def test_every_number_of_a_small_matrix(tmp_path: Path) -> None:
    report = evaluate(tmp_path)
    assert values(report) == pytest.approx(EXPECTED)
    assert {r.metric: r.n for r in report.records} == {name: 5 if name.startswith("text") else 3 for name in EXPECTED}
    records = {r.metric: r for r in report.records}
    chance = {name: r.chance for name, r in records.items()}
    assert chance["text_to_image_recall@1"] == pytest.approx(1 / 3)
    assert chance["image_to_text_recall@1"] == pytest.approx((2 / 5 + 2 / 5 + 1 / 5) / 3)
    assert chance["image_to_text_recall@2"] == pytest.approx((0.7 + 0.7 + 0.4) / 3)  # 1 - 3/5 * 2/4
    assert chance["text_to_image_mean_rank"] == 2
    assert records["text_to_image_recall@1"].context["ties"] == 1  # "c one"
    assert records["image_to_text_recall@1"].context["gallery"] == 5
    assert report.notes == []
    names = Retrieval(write(tmp_path, PAIRS)).metrics()
    assert names == {name for name in EXPECTED if "rank" not in name}


def test_every_query_is_written_down(tmp_path: Path) -> None:
    frame = evaluate(tmp_path).predictions
    rows = frame[frame["protocol"] == "text_to_image_recall@2"]
    assert list(rows["item"]) == list(CAPTIONS)
    assert list(rows["true"]) == ["a.png", "a.png", "b.png", "b.png", "c.png"]
    assert list(rows["cluster"]) == ["a.png", "a.png", "b.png", "b.png", "c.png"]
    assert list(rows["predicted"]) == ["a.png", "b.png", "a.png", "b.png", "a.png"]
    assert list(rows["score"]) == pytest.approx([0.9, 0.7, 0.5, 0.8, 0.6])
    assert list(rows["correct"]) == [True, False, True, True, False]
    rows = frame[frame["protocol"] == "image_to_text_recall@1"]
    assert list(rows["item"]) == list(rows["cluster"]) == ["a.png", "b.png", "c.png"]
    assert list(rows["true"]) == ["a one (+1 more)", "b one (+1 more)", "c one"]
    assert list(rows["predicted"]) == ["a one", "b two", "c one"]


def test_intervals_resample_images(tmp_path: Path) -> None:
    record = next(r for r in evaluate(tmp_path).records if r.metric == "text_to_image_recall@1")
    expected = bootstrap_interval([1, 0, 0, 1, 0], ["a", "a", "b", "b", "c"])
    assert (record.low, record.high) == pytest.approx(expected)
    ranks = next(r for r in evaluate(tmp_path).records if r.metric == "text_to_image_mean_rank")
    expected = bootstrap_interval([1, 3, 2, 1, 3], ["a", "a", "b", "b", "c"], bounds=(1, 3))
    assert (ranks.low, ranks.high) == pytest.approx(expected)
    perfect = next(r for r in evaluate(tmp_path).records if r.metric == "image_to_text_mean_rank")
    assert perfect.low == 1 < perfect.high <= 5  # three right of three is not certainty


@pytest.mark.parametrize("form", ["lists", "mixed", "image_id", "parquet"])
def test_other_forms_of_the_same_pairs(tmp_path: Path, form: str) -> None:
    lists = [{"image": "a.png", "text": ["a one", "a two"]}, {"image": "b.png", "text": ["b one", "b two"]}]
    if form == "lists":
        rows = [*lists, {"image": "c.png", "text": ["c one"]}]
    elif form == "mixed":
        rows = [*lists, {"image": "c.png", "text": "c one"}]
    else:  # the second name of one image
        rows = [dict(pair, image_id=pair["image"][0]) for pair in PAIRS]
        rows[1]["image"] = "copy_of_a.png"
    spec = write(tmp_path, rows)
    if form == "parquet":
        pd.read_json(spec.test, lines=True, dtype=False).astype({"id": str}).to_parquet(tmp_path / "test.parquet")
        spec = spec.model_copy(update={"test": tmp_path / "test.parquet"})
    report = Retrieval(spec).evaluate(ByTable(VECTORS), "t", brief=True)
    assert values(report) == pytest.approx(EXPECTED)
    assert set(report.predictions["cluster"]) == (
        {"a", "b", "c"} if form in ("image_id", "parquet") else {*VECTORS} & {"a.png", "b.png", "c.png"}
    )


def test_each_item_is_encoded_once(tmp_path: Path) -> None:
    encoder = ByTable(VECTORS)
    Retrieval(write(tmp_path, PAIRS)).evaluate(encoder, "t", brief=True)
    assert encoder.asked == ["a.png", "b.png", "c.png", *CAPTIONS]


def test_one_caption_of_two_images_has_two_positives(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "text": "a two"},
        {"image": "b.png", "text": "a two"},
        {"image": "c.png", "text": "c one"},
    ]
    report = evaluate(tmp_path, rows)
    assert values(report)["text_to_image_recall@1"] == 1 / 2  # b.png comes first, and is right
    assert values(report)["text_to_image_map@10"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 3) / 2)
    frame = report.predictions
    assert list(frame[frame["protocol"] == "image_to_text_recall@1"]["cluster"]) == ["a.png", "a.png", "c.png"]


def test_an_image_without_caption_stays_in_the_gallery(tmp_path: Path) -> None:
    rows = [pair for pair in PAIRS if not pair["image"].startswith("a")]
    empty = [{"image": "a.png", "text": None}, {"image": "a.png", "text": " "}, {"image": "a.png"}]
    report = evaluate(tmp_path, [*empty, *rows])
    assert values(report)["text_to_image_recall@1"] == 1 / 3  # "b one" still has a.png before it
    assert next(r.n for r in report.records if r.metric == "image_to_text_recall@1") == 2
    assert report.notes == [
        "t: 3 entries of text are missing or empty, and left out.",
        "t: 1 of 3 image items have no partner: they stay in the gallery and are no queries.",
    ]
    with pytest.raises(UserError, match="column 'text' holds no caption at all"):
        evaluate(tmp_path, empty)


def test_unreadable_images_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*PAIRS, {"image": "gone.png", "text": "b two"}, {"image": "gone.png", "text": "gone"}]
    evaluator, encoder = write(tmp_path, rows), ByTable(VECTORS | {"gone": (0, 0, 0)})
    with pytest.raises(UserError, match=r"1 of 4 items .* limit is 1.0%; first: gone\.png \(gone\.png: unreadable\)"):
        Retrieval(evaluator).evaluate(encoder, "t", brief=True)
    report = Retrieval(evaluator.model_copy(update={"max_bad": 0.3})).evaluate(encoder, "t", brief=True)
    found = values(report)
    assert {name: found[name] for name in EXPECTED if name.startswith("text")} == pytest.approx(
        {name: value for name, value in EXPECTED.items() if name.startswith("text")}
    )
    assert report.notes == [
        "t: 1 of 4 image items could not be read and are left out, the first: gone.png: unreadable",
        "t: 1 of 6 text items have no partner: they stay in the gallery and are no queries.",
    ]


def test_files_are_looked_for_before_training(tmp_path: Path) -> None:
    evaluator = Retrieval(write(tmp_path, PAIRS).model_copy(update={"max_bad": 0.5}))
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"2 of 3 .* first: .*b\.png \(no such file\), .*c\.png \(no such file\)"):
        evaluator.check()
    (tmp_path / "b.png").write_bytes(b"x")
    evaluator.check()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image": "a.png", "caption": "a one"}], "missing column 'text'; found: "),
        ([{"picture": "a.png", "text": "a one"}], "missing column 'image'"),
        ([{"image": "a.png", "text": ["a one"], "text_id": "1"}], "holds lists beside a column text_id"),
        ([{"image": None, "text": "a one"}], "column 'image' is null in 1 of 1 rows"),
    ],
)
def test_a_test_that_cannot_be_used(tmp_path: Path, rows: list[dict], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Retrieval(write(tmp_path, rows))


def test_two_models_are_compared_query_by_query(tmp_path: Path) -> None:
    one = evaluate(tmp_path)
    better = Retrieval(write(tmp_path, PAIRS)).evaluate(
        ByTable(VECTORS | {"a two": (1, 0, 0), "b one": (0, 1, 0)}), "t", brief=True
    )
    found = compare(better, one, ("new", "old"))
    assert found.value("text_to_image_recall@1: new - old") == pytest.approx(2 / 5)
    assert not [note for note in found.notes if "candidates" in note]
    other = evaluate(tmp_path, PAIRS[:4])
    with pytest.raises(UserError, match="evaluate both runs"):
        compare(one, other, ("new", "old"))


def colour(picture: Image.Image, wanted: tuple[int, int, int]) -> int:
    """Pixels close to a colour."""
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    return int((np.abs(pixels - np.array(wanted)).max(axis=-1) < 30).sum())


def test_contact_sheets_read_and_show_the_images_that_came_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty images in forty rows; only those on the sheets are read, and only for the sheets."""
    rng, rows, vectors = np.random.default_rng(0), [], {}
    for i in range(40):
        Image.new("RGB", (60, 40), (230, 40, 40) if i == 7 else (40, 40, 230)).save(tmp_path / f"{i}.png")
        rows.append({"image": f"{i}.png", "text": f"caption {i} costs $5"})
        vectors[f"{i}.png"] = z = rng.standard_normal(3)
        vectors[rows[-1]["text"]] = z + 0.1 * rng.standard_normal(3)
    spec, encoder = write(tmp_path, rows), ByTable(vectors, image="image", text="text")
    read: list[str] = []
    monkeypatch.setattr(
        contact_sheet, "read_image", lambda path, whole=contact_sheet.read_image: read.append(path) or whole(path)
    )
    assert Retrieval(spec).evaluate(encoder, "t", brief=True).figures == {}
    assert read == []
    figures = Retrieval(spec).evaluate(encoder, "t").figures
    assert list(figures) == ["t: text to image", "t: image to text"]
    assert 8 < len(read) <= 8 * 6 + 8
    to_images, to_texts = (Image.open(io.BytesIO(png)) for png in figures.values())
    assert colour(to_images, (40, 40, 230)) > 8 * 4 * 132 * 88 * 0.7
    for sheet in (to_images, to_texts):
        assert colour(sheet, (43, 138, 62)) > 50  # a frame, a tick
        assert sheet.width == 1120
        assert sheet.height < 1500


def test_a_picture_that_is_gone_shows_its_name(tmp_path: Path) -> None:
    report = Retrieval(write(tmp_path, PAIRS)).evaluate(ByTable(VECTORS, image="image", text="text"), "t")
    assert [png[:4] for png in report.figures.values()] == [b"\x89PNG"] * 2


@pytest.mark.parametrize("texts", [[{"raw": "a"}, {"raw": "b"}], [[["a"]], [["b"]]]])
def test_captions_that_are_no_texts(tmp_path: Path, texts: list) -> None:
    frame = pd.DataFrame({"id": ["1", "2"], "image": ["a.png", "b.png"], "text": texts})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"column 'text' holds .* values, expected strings, or lists of strings"):
        Retrieval(Retrieval.Spec(test=tmp_path / "t.parquet"))


def test_other_columns_renamed_items_and_one_modality(tmp_path: Path) -> None:
    rows = [{"image": r["image"], "sentence": r["text"], "image_id": r["image"][0]} for r in PAIRS]
    rows[1]["image"] = "copy_of_a.png"
    spec = write(tmp_path, rows).model_copy(update={"text_column": "sentence"})
    report = Retrieval(spec).evaluate(ByTable(VECTORS), "t", brief=True)
    assert values(report) == pytest.approx(EXPECTED)
    assert "t: 1 rows name another item under an id seen before: the first one is taken." in report.notes
    with pytest.raises(UserError, match="retrieval from image to itself"):
        Retrieval(spec.model_copy(update={"text": "image"}))
