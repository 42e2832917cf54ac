"""SLURP with recordings, in miniature: as the repository lies, and all in one folder."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from sounds import empty, left_out, record, rows_of

from xmodal.corpora.speech.slurp_audio import prepare
from xmodal.errors import UserError


def sentence(number: int, text: str, *files: str, action: str = "music") -> dict[str, Any]:
    recordings = [{"file": file, "wer": 0.0, "ent_wer": 0.0, "status": "correct"} for file in files]
    return {"slurp_id": number, "sentence": text, "scenario": "play", "action": action, "intent": "never_this",
            "recordings": recordings}  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    texts, audio = tmp_path / "slurp" / "dataset" / "slurp", tmp_path / "slurp" / "audio" / "slurp_real"
    texts.mkdir(parents=True)
    devel = [
        sentence(7, "play it", "a-headset.flac", "a.flac"),
        sentence(8, "play it", "b.flac", action="radio"),
        sentence(9, "", "c.flac"),
        sentence(10, "nobody said this"),
        sentence(11, "gone and empty", "gone.flac", "zero.flac"),
    ]
    (texts / "devel.jsonl").write_text("".join(json.dumps(row) + "\n" for row in devel))
    for name in ("a-headset", "a", "b", "c"):
        record(audio / f"{name}.flac", rate=16_000)
    empty(audio / "zero.flac")
    about = {"7": {"recordings": {"a.flac": {"usrid": "F1"}, "a-headset.flac": {"usrid": "F1"}}}}
    (texts / "metadata.json").write_text(json.dumps(about))
    return tmp_path / "slurp"


def test_rows(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = prepare(corpus, out)
    assert {path.name: rows for path, rows in written.items()} == {
        "devel_audio.jsonl": 3, "devel_audio.skipped.jsonl": 4, "devel_texts.jsonl": 4, "names.json": 2,
    }  # fmt: skip
    near, far, other = rows_of(out / "devel_audio.jsonl")
    assert near == {
        "id": "a-headset", "speech": str((corpus / "audio/slurp_real/a-headset.flac").resolve()), "text": "play it",
        "label": "play_music", "scenario": "play", "action": "music", "headset": True, "slurp_id": "7", "text_id": "7",
        "speaker": "F1", "wer": 0.0, "status": "correct", "seconds": 0.1,
    }  # fmt: skip
    assert (far["headset"], far["id"]) == (False, "a")
    assert (other["slurp_id"], other["text_id"], other["label"], "speaker" in other) == ("8", "7", "play_radio", False)
    assert [row["cluster"] for row in rows_of(out / "devel_texts.jsonl")] == ["7", "7", "10", "11"]
    assert json.loads((out / "names.json").read_text()) == {"play_music": "play music", "play_radio": "play radio"}
    found = left_out(out / "devel_audio.jsonl")
    assert found.pop("zero.flac").startswith("cannot be decoded")
    assert found == {"slurp_id 9": "empty sentence", "slurp_id 10": "no recording", "gone.flac": "no such file"}


def test_in_one_folder_without_speakers(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.move(corpus / "dataset" / "slurp" / "devel.jsonl", flat)
    shutil.move(corpus / "audio" / "slurp_real", flat)
    with caplog.at_level(logging.WARNING):
        prepare(flat, flat)
    assert "no metadata.json: rows have no column speaker" in caplog.text
    assert rows_of(flat / "devel_audio.jsonl")[0]["speech"] == "slurp_real/a-headset.flac"
    assert len(rows_of(flat / "devel.jsonl")) == 5  # the corpus' own is left alone


def test_the_real_annotations(xmodal_data: Path, tmp_path: Path) -> None:
    """Every recording that the annotations name is looked for."""
    (tmp_path / "slurp").mkdir()
    (tmp_path / "slurp" / "devel.jsonl").symlink_to(xmodal_data / "slurp" / "devel.jsonl")
    record(tmp_path / "slurp" / "slurp_real" / "audio-1434542201.flac")
    prepare(tmp_path / "slurp", tmp_path / "out")
    [row] = rows_of(tmp_path / "out" / "devel_audio.jsonl")
    assert (row["label"], row["slurp_id"], row["headset"]) == ("qa_currency", "13804", False)
    assert len(rows_of(tmp_path / "out" / "devel_texts.jsonl")) == 2033
    skipped = rows_of(tmp_path / "out" / "devel_audio.skipped.jsonl")
    gold = rows_of(xmodal_data / "slurp" / "devel.jsonl")
    assert len(skipped) == len({each["file"] for line in gold for each in line["recordings"]}) - 1


def test_mistakes(corpus: Path, tmp_path: Path) -> None:
    (corpus / "dataset" / "slurp" / "metadata.json").write_text('{"1": {}}')
    with pytest.raises(UserError, match=r"metadata\.json: not SLURP's .*fetch it again, or remove it"):
        prepare(corpus, tmp_path / "out")
    (corpus / "dataset" / "slurp" / "metadata.json").unlink()
    shutil.rmtree(corpus / "audio")
    with pytest.raises(UserError, match="no folder slurp_real or audio/slurp_real; expected SLURP's recordings"):
        prepare(corpus, tmp_path / "out")
