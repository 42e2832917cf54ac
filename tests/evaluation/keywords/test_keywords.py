"""The evaluator of keywords, on recordings: words, another word, and steady noise."""

from pathlib import Path

import numpy as np
import pytest
from intent_table import write
from tones import ToneEncoder, save_tone

from xmodal.errors import UserError
from xmodal.evaluation.keywords.keywords import Keywords

AXES = {"zero": (1, 0, 0, 0), "one": (0, 1, 0, 0)}
WORDS = ("zero", "one", "_unknown_", "_silence_")
BENDS = {
    "dev3.wav": (0.3, 0.1, 0, 0.95),  # another word on dev, a little like zero
    "test1.wav": (0.2, 0.1, 0, 0.97),  # a zero that is too far away
    "test4.wav": (0.9, 0.1, 0, 0.42),  # another word that is taken for zero
}


def manifest(folder: Path, called: str, words: list[str | None], **more: list) -> Path:
    rows = []
    for at, word in enumerate(words):
        quiet = word in ("_silence_", "_background_noise_")
        save_tone(folder / f"{called}{at}.wav", None if quiet else word or "three", seconds=0.5 + 0.1 * at)
        further = {name: values[at] for name, values in more.items()}
        rows.append({"id": f"{called}{at}", "speech": f"{called}{at}.wav", "label": word, **further})
    return write(folder / f"{called}.jsonl", rows)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    manifest(tmp_path, "dev", ["zero", "one", "one", "two", "_silence_"])
    manifest(tmp_path, "test", ["zero", "zero", "one", "two", "three", "_background_noise_", None])
    return tmp_path


def keywords(folder: Path, **more: object) -> Keywords:
    given = {"test": folder / "test.jsonl", "dev": folder / "dev.jsonl", "words": WORDS}
    return Keywords(Keywords.Spec(**given | more))


def test_every_number_by_hand(files: Path) -> None:
    evaluator = keywords(files)
    evaluator.check()
    report = evaluator.evaluate(ToneEncoder(AXES, BENDS), "k")
    rows = report.predictions
    expected = ["zero", "_unknown_", "one", "_unknown_", "zero", "_silence_", "_unknown_"]
    assert list(rows["predicted"]) == expected
    assert list(rows["true"]) == ["zero", "zero", "one", "_unknown_", "_unknown_", "_silence_", "_unknown_"]
    records = {record.metric: record for record in report.records}
    assert (records["accuracy"].value, records["accuracy"].chance) == (pytest.approx(5 / 7), 1 / 4)
    assert records["majority"].value == pytest.approx(3 / 7)
    assert (records["miss_rate"].value, records["miss_rate"].n) == (pytest.approx(1 / 3), 3)
    hours = sum(0.5 + 0.1 * at for at in (3, 4, 5, 6)) / 3600
    assert records["false_accepts_per_hour"].value == pytest.approx(1 / hours, rel=1e-3)
    context = records["accuracy"].context
    assert context["similarity_threshold"] == pytest.approx((1 + 0.3) / 2)  # dev: words score 1, the other one 0.3
    assert 0 < context["silence_threshold_db"] < 60
    assert context["candidates"] == list(WORDS)
    table = report.tables["k: per word"].set_index("label")
    assert list(table.loc["zero", ["n", "answered", "wrongly"]]) == [2, 2, 1]
    assert {"k: thresholds", "k: per word"} == report.tables.keys()
    assert {"k: confusion", "k: false accepts and misses"} == report.figures.keys()
    [unknown] = [note for note in report.notes if "_unknown_ is" in note]
    assert unknown.endswith(
        f"cosine below 0.650, chosen on {files / 'dev.jsonl'} (misses and false accepts weigh alike)."
    )


def test_a_closed_list_needs_no_dev_set(files: Path) -> None:
    report = keywords(files, dev=None, words=("zero", "one")).evaluate(ToneEncoder(AXES, BENDS), "k")
    assert list(report.predictions["predicted"]) == ["zero", "zero", "one"]
    assert {record.metric for record in report.records} == {"accuracy", "majority", "miss_rate"}
    assert report.value("miss_rate") == 0
    assert "k: 4 recordings of labels outside the list are left out." in report.notes
    assert report.figures.keys() == {"k: confusion"}


def test_published_lists_are_named_and_missing_words_are_told(files: Path) -> None:
    evaluator = keywords(files, words="35", dev=None)
    words = {word: tuple(np.eye(4)[0]) for word in evaluator.words} | AXES
    report = evaluator.evaluate(ToneEncoder(words), "k")
    assert {record.context["list"] for record in report.records} == {"35"}
    assert "k: 31 of 35 classes have no recording in the test: backward, bed, bird, cat, dog, ...." in report.notes


def test_speakers_are_resampled_where_there_are_two(tmp_path: Path) -> None:
    manifest(tmp_path, "test", ["zero", "one"] * 3, speaker=["a", "a", "b", "b", "c", "c"])
    report = keywords(tmp_path, dev=None, words=("zero", "one")).evaluate(ToneEncoder(AXES), "k", brief=True)
    assert set(report.predictions["cluster"]) == {"a", "b", "c"}
    assert {record.context["clusters"] for record in report.records} == {"speaker"}
    assert not report.figures


def test_mistakes(files: Path) -> None:
    with pytest.raises(UserError, match=r"_unknown_ and _silence_ of the list '12' need dev: recordings on which"):
        keywords(files, dev=None, words="12")
    with pytest.raises(UserError, match=r"dev: .*test\.jsonl is the test itself"):
        keywords(files, dev=files / "test.jsonl")
    with pytest.raises(UserError, match=r"most_false_accepts goes with _unknown_ among the words"):
        keywords(files, dev=None, words=("zero", "one"), most_false_accepts=1.0)
    with pytest.raises(UserError, match=r"none of its 7 labels \(first 'zero'\) is among the words \(up, down\)"):
        keywords(files, dev=None, words=("up", "down"))
    with pytest.raises(UserError, match=r"items of kind text, expected recordings with one word each"):
        Keywords(Keywords.Spec(test=files / "test.jsonl", words=("zero", "one")), {"speech": "text"})
    evaluator = keywords(files)
    (files / "dev0.wav").unlink()
    with pytest.raises(UserError, match=r"dev\.jsonl: 1 of 5 items .*no such file"):
        evaluator.check()


def test_the_digest_knows_the_dev_set(files: Path) -> None:
    before = keywords(files).content()
    assert keywords(files).content() == before
    save_tone(files / "dev2.wav", "one", seconds=0.9)
    assert keywords(files).content() != before
