"""FSDD folds, on a corpus of the right names with one byte a file, and on the real one."""

import json
from pathlib import Path
from typing import Any

import pytest

from xmodal.corpora.speech.fsdd import DIGITS, SPEAKERS, prepare
from xmodal.errors import UserError


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fsdd")
    (root / "recordings").mkdir()
    for digit in range(10):
        for speaker in SPEAKERS:
            for take in range(50):
                (root / "recordings" / f"{digit}_{speaker}_{take}.wav").write_bytes(b"x")
    return root


def check_folds(root: Path, out: Path) -> None:
    written = prepare(root, out)
    assert len(written) == 12
    every = {p.stem for p in (root / "recordings").glob("*.wav")}
    for speaker in SPEAKERS:
        train, test = rows_of(out / speaker / "train.jsonl"), rows_of(out / speaker / "test.jsonl")
        assert written[out / speaker / "train.jsonl"] == len(train) == 2500
        assert written[out / speaker / "test.jsonl"] == len(test) == 500
        assert {r["id"] for r in train} | {r["id"] for r in test} == every
        assert {r["speaker"] for r in test} == {speaker}
        assert {r["speaker"] for r in train} == set(SPEAKERS) - {speaker}
        for row in train + test:
            digit, name, take = row["id"].split("_")
            assert row["text"] == row["label"] == DIGITS[int(digit)]
            assert (row["speaker"], row["take"]) == (name, int(take))
            assert Path(row["speech"]) == (root / "recordings" / f"{row['id']}.wav").resolve()


def test_folds(corpus: Path, tmp_path: Path) -> None:
    check_folds(corpus, tmp_path)


def test_folds_of_the_real_corpus(xmodal_data: Path, tmp_path: Path) -> None:
    check_folds(xmodal_data / "fsdd", tmp_path)
    soundfile = pytest.importorskip("soundfile")
    for row in rows_of(tmp_path / "theo" / "test.jsonl")[::50]:
        info = soundfile.info(row["speech"])
        assert (info.samplerate, info.channels) == (8000, 1)


def test_limit_keeps_every_class(corpus: Path, tmp_path: Path) -> None:
    assert set(prepare(corpus, tmp_path, limit=10).values()) == {10}
    assert {r["label"] for r in rows_of(tmp_path / "lucas" / "test.jsonl")} == set(DIGITS)


def test_audio_inside_the_manifests_folder_is_relative(tmp_path: Path, corpus: Path) -> None:
    inside = tmp_path / "theo"
    (inside / "recordings").mkdir(parents=True)
    for file in (corpus / "recordings").iterdir():
        (inside / "recordings" / file.name).hardlink_to(file)
    prepare(inside, tmp_path, limit=1)
    assert rows_of(inside / "test.jsonl")[0]["speech"] == "recordings/0_theo_0.wav"
    assert rows_of(tmp_path / "lucas" / "test.jsonl")[0]["speech"] == str(inside / "recordings" / "0_lucas_0.wav")


def test_odd_empty_and_missing_files_are_named(tmp_path: Path, corpus: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for file in (corpus / "recordings").iterdir():
        if file.name not in ("3_theo_7.wav", "9_lucas_0.wav"):
            (folder / file.name).hardlink_to(file)
    (folder / "0_george_0.wav").unlink()
    (folder / "0_george_0.wav").touch()
    for name in ("10_theo_1.wav", "1_anna_1.wav", "1_theo_50.wav"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(UserError) as error:
        prepare(tmp_path, tmp_path / "out")
    assert str(error.value).splitlines() == [
        f"{folder}: 2 recordings missing of 3000: 9_lucas_0.wav, 3_theo_7.wav; unpack the corpus again",
        f"{folder}: 1 recordings are empty files: 0_george_0.wav; unpack the corpus again",
        f"{folder}: 3 files not named DIGIT_SPEAKER_TAKE.wav of the six speakers, takes 0-49: 10_theo_1.wav, "
        "1_anna_1.wav, 1_theo_50.wav; move them elsewhere",
    ]
    assert not (tmp_path / "out").exists()


def test_no_recordings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ROOT is the data set unpacked"):
        prepare(tmp_path, tmp_path / "out")
