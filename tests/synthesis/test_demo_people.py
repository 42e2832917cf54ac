"""People in the demo: which manifests are written, and that no tested recording is trained on."""

import json
from pathlib import Path

import pytest

from xmodal.config.load import load_config
from xmodal.files import read_json_lines, write_json_lines
from xmodal.synthesis.demo_people import corpora_in, make_people, people_overrides

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "demo_cwcl.yaml"


def test_without_people_nothing_changes(tmp_path: Path) -> None:
    assert corpora_in(tmp_path) == []
    assert people_overrides(tmp_path / "demo", tmp_path) == []
    make_people(tmp_path / "demo", tmp_path, tmp_path / "train.jsonl")
    assert not (tmp_path / "demo").exists()


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    rows = [{"id": "a-0", "text": "play it", "label": "play", "speech": "train/a.wav", "voice": "en"}]
    write_json_lines(folder / "train.jsonl", rows)
    return folder


def test_sentences_are_trained_on_and_tests_are_not(demo: Path, xmodal_data: Path) -> None:
    make_people(demo, xmodal_data, demo / "train.jsonl")
    people = demo / "people"
    train = [row for _, row in read_json_lines(people / "train.jsonl")]
    digits = [row for _, row in read_json_lines(people / "digits.jsonl")]
    words = [row for _, row in read_json_lines(people / "words.jsonl")]
    assert [train[0][key] for key in ("id", "speech", "text", "label")] == [
        "1-a-0", "../train/a.wav", "play it", "play"
    ]  # fmt: skip
    assert len(train) > 2000
    assert all(row["label"] is None and row["text"] == row["text"].lower() for row in train[1:])
    for rows, counts in ((digits, (3000, 6, 10)), (words, (300, 41, 30))):
        assert (len(rows), *(len({row[key] for row in rows}) for key in ("speaker", "label"))) == counts
    tested = {row["speech"] for row in [*digits, *words]}
    assert not tested & {row["speech"] for row in train}
    assert all((people / row["speech"]).is_file() for row in [*train[1:], *digits, *words])


def test_the_changes_fit_the_demos_config(demo: Path, xmodal_data: Path) -> None:
    config = load_config(CONFIG, people_overrides(demo, xmodal_data))
    assert config.data.train == demo / "people" / "train.jsonl"
    assert set(config.evaluators) == {"templates", "intents", "digits", "words"}
    assert json.loads(config.evaluators["digits"].model_dump_json())["items"] == "speech"
