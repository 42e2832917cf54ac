"""Recordings in tars: beside images, alone, broken; and as the hub's samples have them."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xmodal.corpora.captions.caption_tars import prepare_cc12m
from xmodal.data.audio import AudioError
from xmodal.data.manifest import read_manifest
from xmodal.data.sources.audio_bytes import decode_audio
from xmodal.data.sources.streamed import named_row
from xmodal.data.sources.tar_address import read_member
from xmodal.data.sources.tar_index import scan_tars
from xmodal.errors import UserError


def recording(form: str = "WAV", seconds: float = 0.2) -> bytes:
    packed = io.BytesIO()
    soundfile.write(packed, np.random.default_rng(0).standard_normal(int(8_000 * seconds)) * 0.1, 8_000, format=form)
    return packed.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_a_key_may_hold_both(tmp_path: Path) -> None:
    sound = recording("FLAC")
    write_tar(tmp_path / "a.tar", {
        "2.flac": sound, "2.jpg": b"a picture", "2.txt": b"both", "1.FLAC": sound, "1.cls": b"7",
        "3.wav": b"", "3.txt": b"empty", "4.txt": b"nothing to hear", "5.ogg": b"x", "5.wav": b"y", "5.txt": b"two",
    })  # fmt: skip
    [index] = scan_tars(tmp_path)
    assert [(row["id"], sorted(row), row["text"], row["label"]) for row in index.rows] == [
        ("a/2", ["audio", "id", "image", "label", "text"], "both", None),
        ("a/1", ["audio", "id", "label", "text"], None, "7"),
        ("a/5", ["audio", "id", "label", "text"], "two", None),
    ]
    assert read_member(tmp_path, index.rows[0]["audio"]) == sound
    assert read_member(tmp_path, index.rows[0]["image"]) == b"a picture"
    assert sorted(index.skipped) == [
        ("a/3", "the audio is empty"),
        ("a/4", "no image or audio"),
        ("a/5.wav", "comes twice; the first is kept"),
    ]


def test_a_folder_of_them_is_a_manifest(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"1.wav": recording(), "1.txt": b"one", "2.txt": b"two"})
    manifest = read_manifest(tmp_path, ["audio", "text"], media=["audio", "text"])
    assert manifest.column_names == ["id", "audio", "text"]
    assert manifest.tally.left_out["no audio"].count == 1
    with pytest.raises(UserError, match="missing column 'image'"):
        read_manifest(tmp_path, ["image"])


def test_corpora_of_images_leave_recordings_out(tmp_path: Path) -> None:
    write_tar(tmp_path / "in" / "a.tar", {"1.wav": recording(), "1.txt": b"one", "2.jpg": b"x", "2.txt": b"two"})
    prepare_cc12m(tmp_path / "in", tmp_path / "out")
    assert '"a/1", "reason": "no image"' in (tmp_path / "out" / "train.skipped.jsonl").read_text()


def test_samples_of_the_hub() -> None:
    row = {
        "__key__": "k",
        "__url__": "hf://x/00.tar",
        "flac": {"bytes": b"s", "path": "k.flac"},
        "txt": "a",
        "jpg": None,
    }
    assert named_row(row, {})["audio"] == {"bytes": b"s", "path": "k.flac"}
    assert named_row(row, {})["id"] == "00/k"
    assert "image" not in named_row(row, {})


def test_a_recording_that_is_cut_off() -> None:
    whole = recording("FLAC", seconds=3)
    assert len(decode_audio(whole, "a.tar@1", 8_000)) == 24_000
    with pytest.raises(AudioError, match=r"a\.tar@1: (truncated, \d+ of 24000 samples|cannot be decoded)"):
        decode_audio(whole[: len(whole) // 2], "a.tar@1", 8_000)
    with pytest.raises(AudioError, match=r"^a\.tar@1: cannot be decoded \(Format not recognised\)$"):
        decode_audio(b"no audio", "a.tar@1", 8_000)
