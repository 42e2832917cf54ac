"""Speech Commands in miniature: both tasks, both tests, and silence."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import contents, empty, left_out, record, rows_of

from xmodal.corpora.speech.silence import silence_rows
from xmodal.corpora.speech.speech_commands import COMMANDS, prepare, prepare_v1, prepare_v2
from xmodal.data.unusable import Bad
from xmodal.errors import UserError


def fill(root: Path) -> Path:
    """20 commands of 2 speakers and 30 other words in train, less in dev and test; noise of 10 s that counts up."""
    lists: dict[str, list[str]] = {"validation": [], "testing": []}
    for number, word in enumerate([*COMMANDS, "bed", "cat", "wow"]):
        for take in range(6):
            name = f"{word}/{'abc'[take % 3]}{number:07d}_nohash_{take}.wav"
            record(root / name, seed=number)
            if take >= 4:
                lists["validation" if take == 4 else "testing"].append(name)
    for name, lines in lists.items():
        (root / f"{name}_list.txt").write_text("".join(f"{line}\n" for line in lines))
    (root / "_background_noise_").mkdir()
    for name in ("pink", "tap"):
        ramp = np.arange(10 * 1000, dtype=np.int16)
        soundfile.write(root / "_background_noise_" / f"{name}.wav", np.repeat(ramp, 8), 8_000)
    (root / "_background_noise_" / "README.md").write_text("about")
    return root


def official(root: Path) -> Path:
    for label in ("yes", "_unknown_", "_silence_"):
        record(root / label / f"{label.strip('_')}_0a0a0a0a_nohash_0.wav")
    record(root / "bed" / "a_nohash_0.wav")
    empty(root / "yes" / "b_nohash_1.wav")
    return root


def test_words(tmp_path: Path) -> None:
    out = tmp_path / "out"
    root = fill(tmp_path / "speech_commands_v0.01")
    (root / "testing_list.txt").open("a").write("bed/gone_nohash_0.wav\n")
    record(root / "bed" / "odd.wav")
    empty(root / "cat" / "z_nohash_9.wav")
    written = prepare_v1(tmp_path, out)
    words = {path.name: rows for path, rows in written.items() if path.parent.name == "words"}
    assert words == {
        "train.jsonl": 52, "train.skipped.jsonl": 2, "dev.jsonl": 13, "test_by_list.jsonl": 13,
        "test_by_list.skipped.jsonl": 1, "names.json": 13,
    }  # fmt: skip
    assert rows_of(out / "words" / "test_by_list.jsonl")[0] == {
        "id": "bed/c0000010_nohash_5", "text": "bed", "label": "bed", "speaker": "c0000010", "seconds": 0.1,
        "speech": str((root / "bed" / "c0000010_nohash_5.wav").resolve()),
    }  # fmt: skip
    assert left_out(out / "words" / "test_by_list.jsonl") == {"gone_nohash_0.wav": "missing"}
    found = left_out(out / "words" / "train.jsonl")
    assert found.pop("z_nohash_9.wav").startswith("cannot be decoded")
    assert found == {"odd.wav": "not named SPEAKER_nohash_NUMBER.wav"}


def test_twelve_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, out = fill(tmp_path / "speech_commands_v0.02"), tmp_path / "out"
    official(tmp_path / "speech_commands_test_set_v0.02")
    with caplog.at_level(logging.WARNING):
        written = prepare_v2(tmp_path, out)
    assert "4 of 12 clips of other words are drawn as _unknown_" in caplog.text
    train = rows_of(out / "commands" / "train.jsonl")
    counts = {label: sum(row["label"] == label for row in train) for label in {row["label"] for row in train}}
    assert counts == {**dict.fromkeys(COMMANDS, 4), "_unknown_": 4, "_silence_": 4}
    assert {row["text"] for row in train if row["label"] == "_unknown_"} <= {"bed", "cat", "wow"}
    silent = {part: [row for row in rows_of(out / "commands" / f"{part}.jsonl") if row["label"] == "_silence_"]
              for part in ("train", "dev")}  # fmt: skip
    stretches = {
        part: [soundfile.read(out / "commands" / row["speech"], dtype="int16")[0] for row in rows]
        for part, rows in silent.items()
    }
    assert all(len(wave) == 8_000 for waves in stretches.values() for wave in waves)
    assert (
        max(int(wave.max()) for wave in stretches["train"]) < 8_000 <= min(int(wave.min()) for wave in stretches["dev"])
    )
    assert written[out / "commands" / "test_official.jsonl"] == 3
    tested = {row["label"]: row for row in rows_of(out / "commands" / "test_official.jsonl")}
    assert {label: (row["text"], row["speaker"]) for label, row in tested.items()} == {
        "yes": ("yes", "0a0a0a0a"), "_unknown_": ("", "0a0a0a0a"), "_silence_": ("", "0a0a0a0a"),
    }  # fmt: skip
    reasons = left_out(out / "commands" / "test_official.jsonl")
    assert reasons.pop("b_nohash_1.wav").startswith("cannot be decoded")
    assert reasons == {"bed": "not one of the twelve classes"}
    assert root.joinpath("_background_noise_").is_dir()
    again = contents(out)
    prepare_v2(tmp_path, out)
    assert contents(out) == again


def test_without_the_official_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fill(tmp_path / "some" / "folder")
    with caplog.at_level(logging.WARNING):
        written = prepare("0.01", root, tmp_path / "out", limit=5)
    assert "no speech_commands_test_set_v0.01 in it or beside it" in caplog.text
    assert {rows for path, rows in written.items() if path.suffix == ".jsonl"} == {5}
    (root / "speech_commands_test_set_v0.01").mkdir()
    with pytest.raises(UserError, match=r"no class folder of \(yes, no, \.\.\.\)|no class folder"):
        prepare("0.01", root, tmp_path / "out")


def test_noise_that_cannot_be_cut(tmp_path: Path) -> None:
    short, broken = record(tmp_path / "short.wav", seconds=1.1), empty(tmp_path / "broken.wav")
    skipped: list[Bad] = []
    assert silence_rows([short, broken], tmp_path / "out", "train", 3, skipped) == []
    assert skipped[0] == (str(short), "1.1 s: too short to cut a clip of 1 s for train")
    assert skipped[1][1].startswith("cannot be read")


def test_lists_must_be_there(tmp_path: Path) -> None:
    (fill(tmp_path / "in") / "testing_list.txt").unlink()
    with pytest.raises(UserError, match=r"expected testing_list\.txt; found _background_noise_, bed"):
        prepare("0.02", tmp_path / "in", tmp_path / "out")
