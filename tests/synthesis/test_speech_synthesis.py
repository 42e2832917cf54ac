import ctypes
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xmodal.errors import UserError
from xmodal.synthesis.espeak import Espeak
from xmodal.synthesis.manner import HELD_OUT_VOICES, TRAINING_VOICES, Manner, manner_of
from xmodal.synthesis.speech_synthesis import synthesize, synthesize_file

espeakng_loader = pytest.importorskip("espeakng_loader")
ROOT = Path(__file__).parents[2]

# espeak as its own manual uses it: one load, its own data folder, in a process where nothing was spoken before.
PLAIN_ESPEAK = """
import ctypes, sys, espeakng_loader
library = ctypes.CDLL(espeakng_loader.get_library_path())
library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
library.espeak_ng_SetRandSeed(ctypes.c_long(1))
heard = []
kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
receive = kind(lambda wave, n, _: heard.append(ctypes.string_at(wave, 2 * n)) or 0 if wave and n else 0)
library.espeak_SetSynthCallback(receive)
voice, rate, pitch, spread, text = sys.argv[1:]
assert library.espeak_SetVoiceByName(voice.encode()) == 0
for parameter, value in ((1, rate), (3, pitch), (4, spread)):
    library.espeak_SetParameter(parameter, int(value), 0)
library.espeak_Synth(text.encode(), ctypes.c_size_t(len(text) + 1), 0, 1, 0, 1, None, None)
sys.stdout.buffer.write(b"".join(heard))
"""


@pytest.fixture(scope="module")
def espeak():
    with Espeak() as espeak:
        yield espeak


def rows(count):
    return [{"id": f"r{i}", "text": f"turn on lamp number {i}", "room": f"room {i}"} for i in range(count)]


def audio_of(manifest):
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    return {row["id"]: (manifest.parent / row["speech"]).read_bytes() for row in lines}


def test_voices_of_training_and_tests_are_sixty_and_two_and_disjoint(espeak):
    assert len(set(TRAINING_VOICES)) == 60
    assert not set(TRAINING_VOICES) & set(HELD_OUT_VOICES)
    espeak.check([*TRAINING_VOICES, *HELD_OUT_VOICES])


@pytest.mark.parametrize("voice", ["en", "en-us+f4", "en-gb-x-gbclan+m7", "en-029+f5"])
def test_speaks_exactly_what_plain_espeak_speaks(espeak, voice):
    manner = Manner(voice, rate=190, pitch=60, range=35)
    espeak.speak("something else before", Manner("en-us-nyc+f5", 150, 30, 70))
    command = [sys.executable, "-c", PLAIN_ESPEAK, voice, "190", "60", "35", "dim the lights"]
    plain = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(plain) > 20000
    assert espeak.speak("dim the lights", manner).tobytes() == plain


def test_an_utterance_does_not_depend_on_what_was_said_before(espeak):
    manner = Manner("en-gb-x-rp+f5")  # breathy, with echo: espeak's random numbers and buffers
    first = espeak.speak("it is dark in here", manner)
    espeak.speak("play some jazz", Manner("en-029+m2", 140, 70, 70))
    np.testing.assert_array_equal(espeak.speak("it is dark in here", manner), first)
    assert len(espeak.speak("it is dark in here", Manner("en-gb-x-rp+f5", rate=140))) > len(first)


def test_bytes_are_the_same_for_any_order_and_number_of_processes(tmp_path):
    given = rows(230)
    synthesize(given, tmp_path / "two" / "a.jsonl", processes=2)
    synthesize(given[::-1][:40], tmp_path / "one" / "a.jsonl", processes=1)
    two, one = audio_of(tmp_path / "two" / "a.jsonl"), audio_of(tmp_path / "one" / "a.jsonl")
    assert len(two) == 230
    assert all(two[name] == one[name] for name in one)
    assert len(set(two.values())) == 230


def test_manner_is_in_range_and_takes_use_every_voice():
    manners = [manner_of(3, f"id{i}") for i in range(3000)]
    for values, low, high in (
        ([m.rate for m in manners], 140, 210),
        ([m.pitch for m in manners], 25, 75),
        ([m.range for m in manners], 30, 70),
    ):
        assert (min(values), max(values)) == (low, high)
    assert {m.voice for m in manners} == set(TRAINING_VOICES)
    assert {manner_of(0, "x", HELD_OUT_VOICES, take).voice for take in range(2)} == set(HELD_OUT_VOICES)
    assert manner_of(0, "x") != manner_of(1, "x")


def test_manifest_and_files(tmp_path):
    written = synthesize(rows(2), tmp_path / "m.jsonl", voices=HELD_OUT_VOICES, per_text=2)
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert lines == written
    assert [row["id"] for row in lines] == ["r0-0", "r0-1", "r1-0", "r1-1"]
    assert {row["voice"] for row in lines[:2]} == set(HELD_OUT_VOICES)
    assert lines[2]["room"] == "room 1"
    for row in lines:
        info = soundfile.info(tmp_path / row["speech"])
        assert (info.samplerate, info.channels, info.subtype) == (22050, 1, "PCM_16")
        assert 0.5 < info.duration < 4


def test_an_interrupted_call_goes_on_and_other_settings_take_no_old_audio(tmp_path):
    manifest = tmp_path / "m.jsonl"
    first = synthesize(rows(3), manifest)
    before = audio_of(manifest)
    gone, kept = tmp_path / first[0]["speech"], tmp_path / first[1]["speech"]
    gone.rename(str(gone) + ".tmp")  # killed while writing: half a file under the unfinished name
    Path(str(gone) + ".tmp").write_bytes(b"RIFF")
    manifest.unlink()
    time = kept.stat().st_mtime_ns
    synthesize(rows(3), manifest)
    assert audio_of(manifest) == before
    assert kept.stat().st_mtime_ns == time
    synthesize(rows(3), manifest, seed=1)
    after = audio_of(manifest)
    assert all(after[name] != before[name] for name in before)


@pytest.mark.parametrize(
    ("voice", "message"),
    [("en-gb", "en-gb-scotland"), ("en-us+f99", "f4"), ("en-us+", "f4"), ("qqq", "en-us")],
)
def test_unknown_voice_names_the_known_ones(tmp_path, voice, message):
    with pytest.raises(UserError, match=message):
        synthesize(rows(1), tmp_path / "m.jsonl", voices=[voice])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no texts"),
        ([{"id": "a", "sentence": "lights on"}], "no column 'text'; found id, sentence"),
        ([{"id": "a", "text": "  "}], "row 1.*not empty"),
        ([{"id": "a", "text": None}], "not empty"),
        ([{"id": "a", "text": "one"}, {"id": "a", "text": "two"}], "row 2: id a is there twice"),
        ([{"text": "one"}, {"text": "one"}], "the text is there twice"),
        ([{"id": "a", "text": "..."}], "no sound"),
    ],
)
def test_bad_rows_are_user_errors_and_leave_no_manifest(tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        synthesize(given, tmp_path / "m.jsonl")
    assert not (tmp_path / "m.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("{}\n{x", "line 2 is not JSON"),
        ("[1]", "list"),
        ('{"text": "a"}\n\n{"text": ""}', r"in\.jsonl: line 3: column 'text' is '', expected a text"),
    ],
)
def test_bad_files_are_user_errors(tmp_path, content, message):
    with pytest.raises(UserError, match="no such file"):
        synthesize_file(tmp_path / "none.jsonl", tmp_path / "out")
    (tmp_path / "in.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        synthesize_file(tmp_path / "in.jsonl", tmp_path / "out")


def test_without_the_loader_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"pip install 'xmodal\[demo\]'"):
        Espeak()


def test_the_script_voices_a_file_and_refuses_a_voice(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"sentence": "lights on please"}\n{"sentence": "lights off please"}\n')
    script = [sys.executable, "data_prep/synthesize_speech.py", tmp_path / "in.jsonl", tmp_path / "out"]
    script += ["--text-column", "sentence", "--held-out-voices", "--per-text", "2"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(audio_of(tmp_path / "out" / "manifest.jsonl")) == 4
    bad = subprocess.run([*script[:4], "--voices", "en-gb"], cwd=ROOT, capture_output=True, text=True)
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr


def test_another_user_of_espeak_in_the_process_changes_nothing(espeak):
    manner = Manner("en+f5")
    before = espeak.speak("read my messages", manner)
    library = ctypes.CDLL(espeakng_loader.get_library_path())  # never unloaded again
    library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
    library.espeak_SetVoiceByName(b"en-us+m1")
    np.testing.assert_array_equal(espeak.speak("read my messages", manner), before)
    np.testing.assert_array_equal(espeak.speak("read my messages", manner), before)
