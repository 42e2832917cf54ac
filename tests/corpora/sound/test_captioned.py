"""AudioCaps and Clotho in miniature: clips that are gone, and several captions a clip."""

import logging
from pathlib import Path

import pytest
from sounds import empty, left_out, record, rows_of

from xmodal.config.data import AudioModality, TextModality
from xmodal.corpora.sound.audiocaps import prepare as prepare_audiocaps
from xmodal.corpora.sound.clotho import prepare as prepare_clotho
from xmodal.data.manifest import read_pairs
from xmodal.errors import UserError

MODALITIES = {"audio": AudioModality(), "text": TextModality()}


@pytest.fixture
def audiocaps(tmp_path: Path) -> Path:
    root = tmp_path / "audiocaps"
    (root / "dataset").mkdir(parents=True)
    header = "audiocap_id,youtube_id,start_time,caption\n"
    (root / "dataset" / "train.csv").write_text(
        header + '1,-aa,30,"Water, then wind"\n2,bbb,10,A dog barks\n3,ccc,0,A cat\n4,ddd,0,\n5,eee,0,An engine\n'
    )
    (root / "dataset" / "test.csv").write_text(
        header + "".join(f"{n},bbb,50,A dog barks {n}\n" for n in range(5)) + "9,fff,0,Gone\n"
    )
    record(root / "train" / "-aa_30.wav")
    record(root / "train" / "Ybbb.flac")
    empty(root / "train" / "eee.wav")
    record(root / "test" / "bbb.wav", seconds=0.2)
    return root


def test_audiocaps(audiocaps: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    with caplog.at_level(logging.WARNING):
        written = prepare_audiocaps(audiocaps, out)
    assert {path.name: rows for path, rows in written.items()} == {
        "train.jsonl": 2, "train.skipped.jsonl": 3, "test.jsonl": 5, "test.skipped.jsonl": 1,
    }  # fmt: skip
    assert "AudioCaps train: 3 of 4 clips are there" in caplog.text
    assert "AudioCaps test: 1 of 2 clips are there" in caplog.text
    first, second = rows_of(out / "train.jsonl")
    assert first == {
        "id": "-aa_30", "audio": str((audiocaps / "train/-aa_30.wav").resolve()), "text": ["Water, then wind"],
        "seconds": 0.1,
    }  # fmt: skip
    assert second["audio"].endswith("train/Ybbb.flac")
    tested = rows_of(out / "test.jsonl")
    assert [row["text"] for row in tested] == [f"A dog barks {n}" for n in range(5)]
    assert {row["audio_id"] for row in tested} == {"bbb_50"}
    assert [row["text_id"] for row in tested] == [row["id"] for row in tested] == [f"bbb_50#{n}" for n in range(5)]
    found = left_out(out / "train.jsonl")
    assert found.pop("eee.wav").startswith("cannot be decoded")
    assert found == {"ccc_0": "missing", "audiocap_id 4": "empty caption"}
    _, items = read_pairs(out / "test.jsonl", MODALITIES)
    assert len(set(items["audio"].ids.tolist())) == 1
    assert len(set(items["text"].ids.tolist())) == 5
    read_pairs(out / "train.jsonl", MODALITIES)


def test_audiocaps_without_a_clip(audiocaps: Path, tmp_path: Path) -> None:
    (audiocaps / "dataset" / "val.csv").write_text("audiocap_id,youtube_id,start_time,caption\n1,zzz,0,A\n")
    with pytest.raises(UserError, match=r"val\.jsonl: there would be no row in it; left out: zzz_0 \(missing\)"):
        prepare_audiocaps(audiocaps, tmp_path / "out", splits=["val"])


@pytest.mark.parametrize("place", ["development", "clotho_audio_files/development", "clotho_audio_development"])
def test_clotho(tmp_path: Path, place: str) -> None:
    root, out = tmp_path / "clotho", tmp_path / "out"
    header = "file_name," + ",".join(f"caption_{n}" for n in range(1, 6)) + "\n"
    for name, where in {"development": place, "evaluation": "evaluation"}.items():
        record(root / where / "A bell (1).wav", rate=44_100)
        (root / f"clotho_captions_{name}.csv").write_text(
            header + 'A bell (1).wav,a,"b, c",,d,e\ngone.wav,a,b,c,d,e\nmute.wav,,,,,\n', encoding="utf-8"
        )
    written = prepare_clotho(root, out)
    assert {path.name: rows for path, rows in written.items()} == {
        "train.jsonl": 1, "train.skipped.jsonl": 7, "test.jsonl": 4, "test.skipped.jsonl": 7,
    }  # fmt: skip
    [row] = rows_of(out / "train.jsonl")
    assert row == {
        "id": "A bell (1)", "audio": str((root / place / "A bell (1).wav").resolve()), "text": ["a", "b, c", "d", "e"],
        "seconds": 0.1,
    }  # fmt: skip
    assert [row["id"] for row in rows_of(out / "test.jsonl")] == [f"A bell (1)#{n}" for n in range(4)]
    found = left_out(out / "test.jsonl")
    assert found.pop("gone.wav") == "no such file"
    assert set(found.values()) == {"empty caption"}


def test_clotho_without_recordings(tmp_path: Path) -> None:
    (tmp_path / "clotho_captions_validation.csv").write_text("file_name,caption_1\na.wav,b\n")
    with pytest.raises(UserError, match=r"no folder validation or clotho_audio_files/validation .*7z unpacked; ROOT"):
        prepare_clotho(tmp_path, tmp_path / "out")
