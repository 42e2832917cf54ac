"""Fluent Speech Commands in miniature: the three slots, and sentences that were trained on."""

import json
import logging
from pathlib import Path

import pytest
from sounds import left_out, record, rows_of

from xmodal.corpora.speech.fluent_speech_commands import prepare

HEADER = ",path,speakerId,transcription,action,object,location\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "fluent_speech_commands_dataset"
    (root / "data").mkdir(parents=True)
    tables = {
        "train": '0,wavs/s1/a.wav,s1,"Lights on, please",activate,lights,none\n'
        "1,wavs/s1/b.wav,s1,Switch language,change language,none,none\n",
        "valid": "0,wavs/s2/c.wav,s2,Turn it up,increase,volume,none\n"
        "1,wavs/s2/gone.wav,s2,Gone,increase,volume,none\n",
        "test": "0,wavs/s3/d.wav,s3,lights on please,activate,lights,none\n1,wavs/s3/e.wav,s3,,increase,heat,kitchen\n"
        "2,wavs/s3/f.wav,s3,Heat,increase,heat,kitchen\n",
    }
    for split, lines in tables.items():
        (root / "data" / f"{split}_data.csv").write_text(HEADER + lines)
    for name in ("s1/a", "s1/b", "s2/c", "s3/d", "s3/e", "s3/f"):
        record(root / "wavs" / f"{name}.wav")
    return root


def test_rows(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    with caplog.at_level(logging.WARNING):
        written = prepare(corpus, out)
    assert {path.name: rows for path, rows in written.items()} == {
        "train.jsonl": 2, "dev.jsonl": 1, "dev.skipped.jsonl": 1, "test.jsonl": 2, "test.skipped.jsonl": 1,
        "names.json": 4,
    }  # fmt: skip
    first = rows_of(out / "train.jsonl")[0]
    assert first == {
        "id": "a", "speech": str((corpus / "wavs/s1/a.wav").resolve()), "text": "Lights on, please", "speaker": "s1",
        "label": "activate_lights_none", "action": "activate", "object": "lights", "location": "none", "seconds": 0.1,
    }  # fmt: skip
    assert {row["id"]: row["seen"] for row in rows_of(out / "test.jsonl")} == {"d": True, "f": False}
    assert "Fluent Speech Commands test: 1 of 2 sentences occur in training" in caplog.text
    assert json.loads((out / "names.json").read_text()) == {
        "activate_lights_none": "activate lights",
        "change_language_none_none": "change language",
        "increase_heat_kitchen": "increase heat kitchen",
        "increase_volume_none": "increase volume",
    }
    assert left_out(out / "test.jsonl") == {"e.wav": "empty transcription"}
    assert left_out(out / "dev.jsonl") == {"gone.wav": "no such file"}


def test_without_train_nothing_is_called_new(corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path / "out", splits=["test"])
    assert "seen" not in rows_of(tmp_path / "out" / "test.jsonl")[0]
