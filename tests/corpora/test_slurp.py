"""SLURP: devel sentences with the right intent, and the published scores."""

import json
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import f1_score

from xmodal.corpora.speech.slurp import prepare, score
from xmodal.errors import UserError

LEVELS = ("scenario", "action", "intent")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def labelled(item: dict[str, Any], scenario: str, action: str) -> dict[str, Any]:
    return {**item, "scenario": scenario, "action": action, "intent": "never_this"}


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    rows = [
        labelled({"slurp_id": 1, "recordings": [{"file": "a"}, {"file": "b"}]}, "play", "music"),
        labelled({"slurp_id": 2, "recordings": [{"file": "c"}]}, "play", "radio"),
        labelled({"slurp_id": 3, "recordings": []}, "iot", "coffee"),
        labelled({"slurp_id": 4, "recordings": [{"file": "d"}]}, "a", "b_c"),
    ]
    return write(tmp_path / "gold.jsonl", rows)


def test_score_by_hand(gold: Path, tmp_path: Path) -> None:
    # By sentence: 1 right; 2 right scenario; 3 not predicted; 4 has the same intent string by another split.
    predictions = [
        labelled({"slurp_id": "1"}, "play", "music"),
        labelled({"slurp_id": "2"}, "play", "music"),
        labelled({"slurp_id": "4"}, "a_b", "c"),
    ]
    found = score(gold, write(tmp_path / "p.jsonl", predictions), per="sentence")
    assert (found["n"], found["covered"], found["coverage"]) == (4, 3, 0.75)
    assert found["official"] == {"scenario": 2 / 3, "action": 1 / 3, "intent": 2 / 3}
    assert found["strict"] == {"scenario": 2 / 4, "action": 1 / 4, "intent": 2 / 4}
    # By recording: a sentence counts once for each of its recordings, one without recordings not at all.
    recordings = [labelled({"file": "a"}, "play", "music"), labelled({"file": "b"}, "play", "radio")]
    found = score(gold, write(tmp_path / "r.jsonl", recordings), per="recording")
    assert (found["n"], found["covered"]) == (4, 2)
    assert found["official"] == {"scenario": 1, "action": 1 / 2, "intent": 1 / 2}
    assert found["strict"] == {"scenario": 2 / 4, "action": 1 / 4, "intent": 1 / 4}


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([labelled({"slurp_id": "1"}, "a", "b")] * 2, "slurp_id 1 is predicted twice"),
        ([labelled({"slurp_id": "9"}, "a", "b")], "slurp_id 9 is not in .*gold.jsonl; is it the same split"),
        ([labelled({"file": "a"}, "a", "b")], "line 1: no slurp_id; found file, scenario"),
        ([{"slurp_id": "1", "scenario": None, "action": "b"}], "slurp_id 1: scenario is None, expected its name"),
        ([{"slurp_id": "1", "scenario": "a", "action": ["b"]}], r"slurp_id 1: action is \['b'\], expected its name"),
    ],
)
def test_predictions_that_do_not_fit(gold: Path, tmp_path: Path, rows: list[dict[str, Any]], line: str) -> None:
    with pytest.raises(UserError, match=line):
        score(gold, write(tmp_path / "p.jsonl", rows), per="sentence")


@pytest.mark.parametrize("recordings", ["a.flac", [1], [{"path": "a.flac"}]])
def test_recordings_that_are_none(recordings: object, tmp_path: Path) -> None:
    row = labelled({"slurp_id": "1", "recordings": recordings}, "a", "b")
    predictions = write(tmp_path / "p.jsonl", [labelled({"file": "a.flac"}, "a", "b")])
    with pytest.raises(UserError, match=r"slurp_id 1: recordings is .*, expected a list of objects with file; give"):
        score(write(tmp_path / "g.jsonl", [row]), predictions, per="recording")


@pytest.mark.parametrize(
    ("name", "per", "counts", "official", "strict"),
    [
        ("gold_hermit", "sentence", (2974, 2974), (90.15, 86.99, 84.84), (90.15, 86.99, 84.84)),
        ("multi_slurp_hermit", "recording", (13071, 13078), (85.69, 81.42, 78.33), (85.64, 81.37, 78.29)),
    ],
)
def test_published_predictions_get_the_official_scores(
    xmodal_data: Path, name: str, per: Any, counts: Any, official: Any, strict: Any
) -> None:
    root = xmodal_data / "slurp"
    found = score(root / "test.jsonl", root / "predictions" / f"{name}_predictions.jsonl", per=per)
    assert (found["covered"], found["n"]) == counts
    assert tuple(round(100 * found["official"][level], 2) for level in LEVELS) == official
    assert tuple(round(100 * found["strict"][level], 2) for level in LEVELS) == strict


def test_accuracy_is_micro_f1(xmodal_data: Path) -> None:
    root = xmodal_data / "slurp"
    predictions = root / "predictions" / "gold_hermit_predictions.jsonl"
    predicted = {r["slurp_id"]: f"{r['scenario']}_{r['action']}" for r in rows_of(predictions)}
    gold = {str(r["slurp_id"]): f"{r['scenario']}_{r['action']}" for r in rows_of(root / "test.jsonl")}
    micro = f1_score([gold[i] for i in gold], [predicted[i] for i in gold], average="micro")
    assert score(root / "test.jsonl", predictions, per="sentence")["official"]["intent"] == pytest.approx(micro)


def test_devel_of_the_real_corpus(xmodal_data: Path, tmp_path: Path) -> None:
    prepare(xmodal_data / "slurp", tmp_path)
    rows = rows_of(tmp_path / "devel_texts.jsonl")
    raw = {str(r["slurp_id"]): r for r in rows_of(xmodal_data / "slurp" / "devel.jsonl")}
    assert len(rows) == len(raw) == 2033
    assert sum(r["label"] != raw[r["id"]]["intent"] for r in rows) == 30
    for row in rows:
        assert row["label"] == raw[row["id"]]["scenario"] + "_" + raw[row["id"]]["action"]
        assert row["text"] == raw[row["id"]]["sentence"] == raw[row["cluster"]]["sentence"]
    assert len({r["cluster"] for r in rows}) == len({r["text"] for r in rows}) == 2032
    names = json.loads((tmp_path / "names.json").read_text())
    assert set(names) == {r["label"] for r in rows}
    assert names["iot_hue_lighton"] == "iot hue lighton"
    # The three intents without a class in nlu_home, which a run must count as wrong.
    home = {f"{r['scenario']}_{r['action']}" for r in rows_of(xmodal_data / "nlu_home" / "utterances.jsonl")}
    assert set(names) - home == {"cooking_query", "general_greet", "music_dislikeness"}


def test_incomplete_devel(tmp_path: Path) -> None:
    write(tmp_path / "devel.jsonl", [labelled({"slurp_id": 1, "sentence": "play it"}, "play", "music")] * 2)
    with pytest.raises(UserError) as error:
        prepare(tmp_path, tmp_path / "out")
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == [
        "found 2 sentences, expected 2033; is this SLURP's devel.jsonl, complete?",
        "found 1 distinct slurp_ids, expected 2033; is this SLURP's devel.jsonl, complete?",
        "found 1 intents, expected 59; is this SLURP's devel.jsonl, complete?",
    ]
    assert not (tmp_path / "out").exists()
