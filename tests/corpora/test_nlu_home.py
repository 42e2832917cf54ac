"""nlu_home: 8,847 sentences and their intents, on made rows and on the real file."""

import json
from pathlib import Path
from typing import Any

import pytest

from xmodal.corpora.speech.nlu_home import INTENTS, UTTERANCES, prepare
from xmodal.errors import UserError


def made_rows() -> list[dict[str, Any]]:
    return [
        {"id": i, "scenario": f"s{i % 8}", "action": f"a_{i % INTENTS // 8}", "text": f"say {i}"}
        for i in range(UTTERANCES)
    ]


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "utterances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_texts(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert prepare(write(tmp_path, made_rows()), out) == {
        out / "texts.jsonl": UTTERANCES,
    }
    assert rows_of(out / "texts.jsonl")[9] == {"id": "9", "text": "say 9", "label": "s1_a_1"}


def test_limit_is_spread_over_the_file(tmp_path: Path) -> None:
    prepare(write(tmp_path, made_rows()), tmp_path / "out", limit=3)
    assert [r["id"] for r in rows_of(tmp_path / "out" / "texts.jsonl")] == ["0", "2949", "5898"]


def test_counts_are_checked(tmp_path: Path) -> None:
    rows = made_rows()[:-1]
    rows[5]["text"] = rows[4]["text"]
    path = write(tmp_path, rows) / "utterances.jsonl"
    with pytest.raises(UserError) as error:
        prepare(tmp_path, tmp_path / "out")
    assert str(error.value).splitlines() == [
        f"{path}: found {found}, expected 8847; is the file complete and unchanged?"
        for found in ("8846 utterances", "8846 distinct ids", "8845 distinct sentences")
    ]
    assert not (tmp_path / "out").exists()


def test_real_file_shares_no_sentence_with_slurp(xmodal_data: Path, tmp_path: Path) -> None:
    prepare(xmodal_data / "nlu_home", tmp_path)
    rows = rows_of(tmp_path / "texts.jsonl")
    assert len({r["label"] for r in rows}) == 64
    assert sum(r["label"] == "alarm_query" for r in rows) > 0
    slurp = {r["sentence"].lower() for s in ("devel", "test") for r in rows_of(xmodal_data / "slurp" / f"{s}.jsonl")}
    assert not slurp & {r["text"].lower() for r in rows}
