"""Which recordings can be used, what is said of the others, and files that come out the same again."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import contents, empty, left_out, record, rows_of

from xmodal.corpora.audio_manifest import required_folder, usable, write_audio, write_names, write_rows
from xmodal.data.audio import AudioError, read_audio
from xmodal.data.unusable import Bad
from xmodal.errors import UserError


def flac_that_says_hours(path: Path) -> Path:
    """A FLAC file whose header counts far more samples than there are: 36 bits of its STREAMINFO."""
    record(path)
    data = bytearray(path.read_bytes())
    at = 4 + 4 + 13  # "fLaC", the block's header, then 13 bytes before the low 36 bits
    data[at : at + 5] = struct.pack(">BI", (data[at] & 0xF0) | 0xF, 0xFFFFFFFF)
    path.write_bytes(bytes(data))
    return path


def wav_of_rate(path: Path, rate: int) -> Path:
    """A WAV file whose header names this sample rate."""
    record(path)
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", rate)
    path.write_bytes(bytes(data))
    return path


def test_every_usual_form_is_kept(tmp_path: Path) -> None:
    forms = {
        "plain.wav": {},
        "fine.wav": {"rate": 192_000},
        "deep.wav": {"subtype": "PCM_24"},
        "float.wav": {"subtype": "FLOAT"},
        "many.wav": {"channels": 8},
        "short.flac": {},
        "packed.ogg": {"rate": 16_000},
        "packed.mp3": {"rate": 16_000, "seconds": 0.5},
    }
    files = [record(tmp_path / name, **{"seconds": 0.1, **form}) for name, form in forms.items()]
    soundfile.write(tmp_path / "silent.wav", np.zeros(800), 8_000)
    files.append(tmp_path / "silent.wav")
    skipped: list[Bad] = []
    rows = usable([{"id": file.name, "speech": file} for file in files], "speech", tmp_path / "m.jsonl", skipped)
    assert skipped == []
    assert [row["speech"] for row in rows] == [file.name for file in files]
    for row in rows:
        assert len(read_audio(tmp_path / row["speech"], 16_000)) == pytest.approx(16_000 * row["seconds"], abs=700)


def test_bad_recordings_are_counted_with_the_reason(tmp_path: Path) -> None:
    good = record(tmp_path / "good.wav")
    (tmp_path / "text.wav").write_text("no audio at all")
    whole = record(tmp_path / "cut.ogg", rate=16_000, seconds=0.5).read_bytes()
    (tmp_path / "cut.ogg").write_bytes(whole[:40])
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 8_000)
    bad = {
        "missing.wav": (tmp_path / "missing.wav", "no such file"),
        "empty.wav": (empty(tmp_path / "empty.wav"), "cannot be decoded"),
        "text.wav": (tmp_path / "text.wav", "cannot be decoded"),
        "cut.ogg": (tmp_path / "cut.ogg", "cannot be decoded"),
        "none.wav": (tmp_path / "none.wav", "no samples"),
        "slow.wav": (wav_of_rate(tmp_path / "slow.wav", 1), "sample rate 1 Hz, expected 4000 to 768000 Hz"),
        "long.flac": (flac_that_says_hours(tmp_path / "long.flac"), "more than 3,600 s"),
    }
    rows = [{"id": name, "speech": file} for name, (file, _) in bad.items()] + [{"id": "good", "speech": good}] * 2
    written = write_audio(tmp_path / "out" / "m.jsonl", rows, [])
    assert written == {tmp_path / "out" / "m.jsonl": 1, tmp_path / "out" / "m.skipped.jsonl": 8}
    assert rows_of(tmp_path / "out" / "m.jsonl") == [{"id": "good", "speech": str(good.resolve()), "seconds": 0.1}]
    found = left_out(tmp_path / "out" / "m.jsonl")
    assert found.pop("good") == "the id comes twice; the first is kept"
    assert found.keys() == bad.keys()
    for name, (_, reason) in bad.items():
        assert reason in found[name]
        assert str(tmp_path) not in found[name]


def test_a_cut_flac_is_found_when_it_is_decoded(tmp_path: Path) -> None:
    file = record(tmp_path / "cut.flac", seconds=2.0)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    [row] = usable([{"id": "cut", "speech": file}], "speech", tmp_path / "m.jsonl", [])
    assert row["seconds"] == 2.0
    with pytest.raises(AudioError, match=r"truncated|cannot be decoded"):
        read_audio(file, 8_000)


def test_nothing_left_is_one_line(tmp_path: Path) -> None:
    rows = [{"id": "a", "speech": empty(tmp_path / "a.wav")}]
    with pytest.raises(UserError, match=r"m\.jsonl: there would be no row in it; left out: .*a\.wav \(cannot be deco"):
        write_audio(tmp_path / "m.jsonl", rows, [])
    assert not (tmp_path / "m.jsonl").exists()


def test_a_listing_goes_when_its_reasons_do(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_rows(path, [{"id": "a"}], [("b", "missing")])
    assert left_out(path) == {"b": "missing"}
    assert write_rows(path, [{"id": "a"}], []) == {path: 1}
    assert not path.with_suffix(".skipped.jsonl").exists()


def test_names_and_folders(tmp_path: Path) -> None:
    write_names(tmp_path / "names.json", ["b_c", "a", "a"], {"a": "the first"})
    assert (tmp_path / "names.json").read_text() == '{\n  "a": "the first",\n  "b_c": "b c"\n}\n'
    (tmp_path / "audio" / "real").mkdir(parents=True)
    assert required_folder(tmp_path, ["real", "audio/real"], "recordings") == tmp_path / "audio" / "real"
    with pytest.raises(UserError, match="no folder one or two; expected recordings; ROOT is the"):
        required_folder(tmp_path, ["one", "two"], "recordings")


KILLED = """
import sys
from pathlib import Path
from xmodal.corpora.sound.audio_folder import prepare
prepare(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_after_a_kill_the_files_are_the_same(tmp_path: Path) -> None:
    for label in ("yes", "no"):
        for speaker in range(12):
            record(tmp_path / "in" / label / f"s{speaker}" / "a.wav", seed=speaker)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "in")]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    broken = subprocess.Popen([*command, str(tmp_path / "out")])
    while not (tmp_path / "out").exists() and broken.poll() is None:
        time.sleep(0.001)
    os.kill(broken.pid, signal.SIGKILL)
    broken.wait()
    for path in (tmp_path / "out").glob("*.jsonl"):  # whole or not at all
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    subprocess.run([*command, str(tmp_path / "out")], check=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
