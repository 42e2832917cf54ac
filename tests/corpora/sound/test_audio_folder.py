"""Any folder of recordings: class folders, speakers in them, manifests; and the real ones."""

import json
from pathlib import Path

import pytest
from sounds import empty, left_out, record, rows_of

from xmodal.corpora.sound.audio_folder import prepare
from xmodal.errors import UserError


def test_class_folders(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for label in ("door_bell", "rain"):
        for take in range(3):
            record(root / label / f"{take}.wav", seed=take)
    (root / "rain" / "notes.txt").write_text("x")
    record(root / "rain" / "a" / "b" / "deep.wav")
    empty(root / "wind" / "0.wav")
    (root / ".hidden").mkdir()
    assert {path.name: rows for path, rows in prepare(root, out).items()} == {
        "all.jsonl": 6, "all.skipped.jsonl": 4, "names.json": 2,
    }  # fmt: skip
    assert rows_of(out / "all.jsonl")[0] == {
        "id": "door_bell/0", "audio": str((root / "door_bell/0.wav").resolve()), "label": "door_bell",
        "text": "door bell", "seconds": 0.1,
    }  # fmt: skip
    found = left_out(out / "all.jsonl")
    assert found.pop("0.wav").startswith("cannot be decoded")
    assert found == {
        "notes.txt": "no audio by its ending",
        "deep.wav": "deeper than CLASS/SPEAKER/FILE",
        "the label wind": "no recording that can be used",
    }
    assert [row["label"] for row in rows_of(out / "all.jsonl")] == ["door_bell"] * 3 + ["rain"] * 3
    prepare(root, out, limit=2)
    assert [row["label"] for row in rows_of(out / "all.jsonl")] == ["door_bell", "rain"]


def test_speakers_are_not_in_two_parts(tmp_path: Path) -> None:
    for label in ("yes", "no"):
        for speaker in range(10):
            record(tmp_path / "in" / label / f"s{speaker}" / "a.wav", seed=speaker)
    prepare(tmp_path / "in", tmp_path / "out")
    parts = {part: rows_of(tmp_path / "out" / f"{part}.jsonl") for part in ("train", "dev", "test")}
    assert {part: len(rows) for part, rows in parts.items()} == {"test": 4, "dev": 2, "train": 14}
    assert sum(len({row["speaker"] for row in rows}) for rows in parts.values()) == 10


def test_a_manifest_beside_the_files(tmp_path: Path) -> None:
    root = tmp_path / "in"
    rows = [
        {"id": 1, "speech": "a/1.flac", "label": "yes", "split": "val", "take": 3},
        {"id": 2, "speech": "a/2.flac", "label": "no", "split": "test"},
        {"id": 3, "speech": "a/gone.flac", "label": "no", "split": "test"},
        {"id": 4, "speech": "a/2.flac", "label": "", "split": "test"},
    ]
    for name in ("1", "2"):
        record(root / "a" / f"{name}.flac")
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = prepare(root, tmp_path / "out")
    assert {path.name: count for path, count in written.items()} == {
        "val.jsonl": 1, "val.skipped.jsonl": 2, "test.jsonl": 1, "names.json": 2,
    }  # fmt: skip
    assert rows_of(tmp_path / "out" / "val.jsonl") == [
        {"id": "1", "speech": str((root / "a/1.flac").resolve()), "label": "yes", "take": 3, "seconds": 0.1}
    ]
    assert left_out(tmp_path / "out" / "val.jsonl") == {"4": "empty label", "gone.flac": "no such file"}
    (root / "manifest.jsonl").write_text(json.dumps({**rows[0], "split": "../x"}) + "\n")
    with pytest.raises(UserError, match=r"the split '\.\./x' cannot name a file"):
        prepare(root, tmp_path / "out")


def test_the_real_commands(xmodal_data: Path, tmp_path: Path) -> None:
    written = prepare(xmodal_data / "arabic_speech_commands", tmp_path)
    assert {path.name: rows for path, rows in written.items()} == {
        "train.jsonl": 2160, "val.jsonl": 720, "test.jsonl": 720, "names.json": 40,
    }  # fmt: skip
    speakers = [{row["speaker"] for row in rows_of(tmp_path / f"{part}.jsonl")} for part in ("train", "val", "test")]
    assert [len(found) for found in speakers] == [18, 6, 6]
    assert len(set.union(*speakers)) == 30
    prepare(xmodal_data / "speech_commands_mini", tmp_path / "mini")
    assert len(rows_of(tmp_path / "mini" / "all.jsonl")) == 300


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "yes").mkdir()
    with pytest.raises(UserError, match=r"expected class folders with audio .*or manifest\.jsonl; found yes"):
        prepare(tmp_path, tmp_path / "out")
