"""Recordings of people beside the phrases: which are used for what, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from xmodal.errors import UserError
from xmodal.synthesis.phrases import Phrases, read_phrases
from xmodal.teaching.recordings import human_manifest, read_human, read_recordings, require_readable


@pytest.fixture
def phrases(tmp_path: Path) -> Phrases:
    path = tmp_path / "phrases.yaml"
    path.write_text("slots: {size: [small, large]}\nintents: {order: [a $size tea], cancel: [never mind]}\n")
    return read_phrases(path)


def manifest(folder: Path, rows: list[dict[str, Any]], copies: dict[str, str] | None = None) -> Path:
    """A manifest whose recordings differ, but for copies: name -> whose content it has."""
    for number, row in enumerate(rows):
        wave = np.random.default_rng(number).uniform(-0.5, 0.5, 4000)
        soundfile.write(folder / row["speech"], wave, 16_000)
    for name, of in (copies or {}).items():
        (folder / name).write_bytes((folder / of).read_bytes())
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(name: str, split: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "speech": f"{name}.wav", "text": "A small TEA", "split": split, "label": "order", **more}


def test_parts_labels_and_paths(tmp_path: Path, phrases: Phrases) -> None:
    path = manifest(tmp_path, [row("a", "train", label=None), row("b", "test", size="small", speaker="anna")])
    found = read_recordings(path, phrases)
    [train], [test] = found.train, found.test
    assert train["label"] is None
    assert (test["label"], test["intent"], test["size"], test["speaker"]) == ("order", "order", "small", "anna")
    assert test["text"] == "a small tea"
    assert Path(test["speech"]) == (tmp_path / "b.wav").resolve()


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([row("a", "dev")], "row 1 (a): split 'dev', expected train or test"),
        ([row("a", "test", label=None)], "row 1 (a): a test recording without a label; give the intent it has"),
        ([row("a", "test", label="ordr")], "row 1 (a): label: 'ordr' is no intent; did you mean order?"),
        ([row("a", "test", size="tiny")], "row 1 (a): size: 'tiny' is no value of $size; known: small, large"),
    ],
)
def test_a_mistake_is_one_line(rows: list[dict[str, Any]], line: str, tmp_path: Path, phrases: Phrases) -> None:
    path = manifest(tmp_path, rows)
    with pytest.raises(UserError) as error:
        read_recordings(path, phrases)
    assert str(error.value) == f"{path}: {line}"


@pytest.mark.parametrize("copied", [False, True])
def test_no_recording_is_in_training_and_in_the_test(copied: bool, tmp_path: Path, phrases: Phrases) -> None:
    rows = [row("a", "train"), row("b", "test")]
    if not copied:
        rows[1]["speech"] = "a.wav"
    path = manifest(tmp_path, rows, {"b.wav": "a.wav"} if copied else None)
    with pytest.raises(UserError, match=r"the recording .*\.wav \(mine/b\) is in training too \(mine/a\); "):
        read_recordings(path, phrases)


def test_what_cannot_be_read_is_told_before_anything_is_made(tmp_path: Path, phrases: Phrases) -> None:
    path = manifest(tmp_path, [row("a", "train"), row("b", "test"), row("c", "test")])
    require_readable(read_recordings(path, phrases), path)
    (tmp_path / "b.wav").unlink()
    (tmp_path / "c.wav").write_bytes(b"")
    line = rf"mine\.jsonl: 2 of 3 recordings cannot be used, the first mine/b \({tmp_path}/b\.wav: no such file\); mend"
    with pytest.raises(UserError, match=line):
        require_readable(read_recordings(path, phrases), path)


def test_human_speech_gives_its_training_rows_without_labels(tmp_path: Path, phrases: Phrases) -> None:
    path = manifest(tmp_path, [row("a", "train", size="small"), row("b", "test")])
    [found] = read_human(path, phrases)
    assert (found["label"], found["size"], found["text"]) == (None, None, "a small tea")
    (tmp_path / "b").mkdir()
    nothing = manifest(tmp_path / "b", [row("b", "test")])
    with pytest.raises(UserError, match="none of its 1 rows has the split train; nothing to train on"):
        read_human(nothing, phrases)


def test_human_speech_by_path_or_by_the_name_of_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "manifest.jsonl").touch()
    monkeypatch.setenv("XMODAL_DATA", str(tmp_path))
    assert human_manifest("talk") == tmp_path / "talk" / "manifest.jsonl"
    assert human_manifest(str(tmp_path / "talk" / "manifest.jsonl")).is_file()
    for typed in ("speech", "nowhere.jsonl"):
        with pytest.raises(UserError, match="no such file"):
            human_manifest(typed)
    monkeypatch.delenv("XMODAL_DATA")
    with pytest.raises(UserError, match="set XMODAL_DATA to the folder it is in"):
        human_manifest("talk")
