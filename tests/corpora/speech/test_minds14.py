"""MInDS-14 in miniature: the official folder, and the parquet files of the hub."""

import json
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from sounds import contents, empty, left_out, record, rows_of

from xmodal.config.data import AudioModality, TextModality
from xmodal.corpora.speech.minds14 import INTENTS, prepare
from xmodal.data.manifest import read_pairs
from xmodal.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "MInDS-14"
    (root / "text").mkdir(parents=True)
    lines = ["filepath,text_asr,text_translated,intent"]
    for number in range(20):
        name = f"en-US~FREEZE/{number}.wav"
        record(root / "audio" / name, seed=number)
        lines.append(f'{name}, "freeze it, please {number // 2}", "freeze it {number // 2}", FREEZE')
    lines += ["en-US~FREEZE/gone.wav,gone,gone,FREEZE", "en-US~FREEZE/zero.wav,zero,zero,FREEZE",
              "en-US~FREEZE/mute.wav,,mute,FREEZE", "en-US~DANCE/1.wav,dance,dance,DANCE"]  # fmt: skip
    (root / "text" / "en-US.csv").write_text("\n".join(lines) + "\n")
    empty(root / "audio" / "en-US~FREEZE" / "zero.wav")
    record(root / "audio" / "en-US~DANCE" / "1.wav")
    return root


def test_the_official_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(folder.parent, out)
    everything = rows_of(out / "en-US" / "all.jsonl")
    assert everything[3] == {
        "id": "en-US~FREEZE/3", "speech": str((folder / "audio/en-US~FREEZE/3.wav").resolve()), "seconds": 0.1,
        "text": "freeze it, please 1", "english": "freeze it 1", "label": "freeze", "language": "en-US",
    }  # fmt: skip
    parts = {part: rows_of(out / "en-US" / f"{part}.jsonl") for part in ("train", "dev", "test")}
    assert {part: len(rows) for part, rows in parts.items()} == {"test": 8, "dev": 2, "train": 10}
    assert sum(len({row["text"] for row in rows}) for rows in parts.values()) == 10
    assert sorted(row["id"] for rows in parts.values() for row in rows) == sorted(row["id"] for row in everything)
    found = left_out(out / "en-US" / "all.jsonl")
    assert found.pop("zero.wav").startswith("cannot be decoded")
    assert found == {
        "gone.wav": "no such file",
        "mute.wav": "empty transcript",
        "1.wav": "the label 'DANCE' is none of the 14",
    }
    assert json.loads((out / "names.json").read_text())["app_error"] == "app error"
    again = contents(out)
    prepare(folder, out, splits=["en-US"])
    assert contents(out) == again


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    names = [record(tmp_path / "wav" / f"{number}.wav", seed=number) for number in range(12)]
    features = datasets.Features({
        "path": datasets.Value("string"),
        "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
        "transcription": datasets.Value("string"), "english_transcription": datasets.Value("string"),
        "intent_class": datasets.ClassLabel(names=list(INTENTS)), "lang_id": datasets.Value("int64"),
    })  # fmt: skip
    rows = [
        {"path": f"fr-FR~BALANCE/{name.name}", "audio": {"bytes": name.read_bytes(), "path": name.name},
         "transcription": f"solde {number}", "english_transcription": f"balance {number}", "intent_class": 4,
         "lang_id": 6}
        for number, name in enumerate(names)
    ]  # fmt: skip
    rows[5]["audio"] = {"bytes": b"no audio", "path": "5.wav"}
    rows[6]["transcription"] = " "
    table = datasets.Dataset.from_list(rows, features=features)
    (tmp_path / "hub" / "fr-FR").mkdir(parents=True)
    table.to_parquet(str(tmp_path / "hub" / "fr-FR" / "train-00000-of-00001.parquet"))
    return tmp_path / "hub"


def test_the_parquet_files_of_the_hub(parquet: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = prepare(parquet, out)
    assert written[out / "fr-FR" / "all.parquet"] == 10
    rows = pq.read_table(out / "fr-FR" / "all.parquet").to_pylist()
    assert {key: rows[0][key] for key in ("id", "text", "english", "label", "language", "seconds")} == {
        "id": "fr-FR~BALANCE/0", "text": "solde 0", "english": "balance 0", "label": "balance", "language": "fr-FR",
        "seconds": 0.1,
    }  # fmt: skip
    assert rows[0]["speech"] == {"bytes": (tmp_path / "wav" / "0.wav").read_bytes(), "path": "0.wav"}
    found = left_out(out / "fr-FR" / "all.parquet")
    assert found.pop("5.wav").startswith("cannot be decoded")
    assert found == {"6.wav": "empty transcript"}
    manifest, items = read_pairs(out / "fr-FR" / "train.parquet", {"speech": AudioModality(), "text": TextModality()})
    assert len(manifest) == len(items["speech"]) == 5
    again = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    prepare(parquet, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == again


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected text/fr-FR\.csv beside audio/, or fr-FR/\*\.parquet; found en-US"):
        prepare(folder, tmp_path / "out", splits=["fr-FR"])
    (folder / "text" / "en-US.csv").write_text("filepath,intent\na.wav,FREEZE\n")
    with pytest.raises(
        UserError, match="expected columns filepath, transcription, english, intent; found filepath, int"
    ):
        prepare(folder, tmp_path / "out")
