"""STOP in miniature: the two ways its recordings lie, and parses."""

import json
from pathlib import Path

import pytest
from sounds import left_out, record, rows_of

from xmodal.corpora.speech.stop import prepare
from xmodal.errors import UserError

HEADER = (
    "file_id domain gender native utterance seqlogical normalized_utterance normalized_seqlogical "
    "decoupled_normalized_seqlogical"
)


def line(file: str, text: str, parse: str) -> str:
    return "\t".join([file, "alarm", "female", "native", text.title(), "x", text, "x", parse])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "stop"
    (root / "manifests").mkdir(parents=True)
    lines = [
        line("test_0/alarm_test_0/1.wav", "wake me", "[IN:CREATE_ALARM [SL:TIME [IN:GET_TIME six ] ] ]"),
        line("test_0/alarm_test_0/2.wav", "no alarm", "[IN:DELETE_ALARM ]"),
        line("test_0/alarm_test_0/3.wav", "no intent", "wake me"),
        line("test_0/alarm_test_0/4.wav", "", "[IN:DELETE_ALARM ]"),
        line("test_0/alarm_test_0/5.wav", "gone", "[IN:DELETE_ALARM ]"),
        "cut\toff",
    ]
    (root / "manifests" / "test.tsv").write_text("\n".join([HEADER.replace(" ", "\t"), *lines]) + "\n")
    record(root / "test_0" / "alarm_test" / "1.wav")
    record(root / "test_0" / "alarm_test_0" / "2.wav")
    return root


def test_rows(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = prepare(corpus.parent, out)
    assert {path.name: rows for path, rows in written.items()} == {
        "test.jsonl": 2, "test.skipped.jsonl": 4, "names.json": 2,
    }  # fmt: skip
    first, second = rows_of(out / "test.jsonl")
    assert first == {
        "id": "test_0/alarm_test_0/1", "speech": str((corpus / "test_0/alarm_test/1.wav").resolve()), "text": "wake me",
        "label": "create_alarm", "domain": "alarm", "gender": "female", "native": "native", "seconds": 0.1,
        "parse": "[IN:CREATE_ALARM [SL:TIME [IN:GET_TIME six ] ] ]",
    }  # fmt: skip
    assert (second["label"], second["speech"]) == (
        "delete_alarm",
        str((corpus / "test_0/alarm_test_0/2.wav").resolve()),
    )
    assert json.loads((out / "names.json").read_text())["create_alarm"] == "create alarm"
    assert left_out(out / "test.jsonl") == {
        "3.wav": "no intent at the top of its parse: 'wake me'",
        "4.wav": "empty normalized_utterance",
        "5.wav": "no such file",
        "test.tsv: line 7": "2 values, expected 9",
    }


def test_a_table_of_another_form(corpus: Path, tmp_path: Path) -> None:
    (corpus / "manifests" / "eval.tsv").write_text("file_id\tdomain\na\tb\n")
    with pytest.raises(UserError, match=r"eval\.tsv: expected columns file_id, domain, normalized_utterance"):
        prepare(corpus, tmp_path / "out", splits=["dev"])
