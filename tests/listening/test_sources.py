"""Sound from files and raw samples: any rate, width and number of channels; one line for what is none."""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from xmodal.errors import UserError
from xmodal.listening.sources import Source, from_file, from_microphone, from_stream

WAVE = np.random.default_rng(0).uniform(-0.9, 0.9, 30_000)


def whole(source: Source) -> np.ndarray:
    return np.concatenate(list(source.blocks))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize(("subtype", "error"), [("PCM_16", 1e-4), ("PCM_24", 1e-6), ("FLOAT", 1e-7)])
def test_rates_and_widths(rate: int, subtype: str, error: float, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, WAVE, rate, subtype)
    source = from_file(path)
    assert source.rate == rate
    found = whole(source)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, WAVE, atol=error)
    assert source.notes == []


def test_eight_channels_are_averaged(tmp_path: Path) -> None:
    channels = np.random.default_rng(1).uniform(-1, 1, (20_000, 8))
    soundfile.write(tmp_path / "a.flac", channels, 16_000, "PCM_24")
    np.testing.assert_allclose(whole(from_file(tmp_path / "a.flac")), channels.mean(1), atol=1e-6)


def test_blocks_are_half_a_second(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", WAVE, 16_000)
    assert [len(block) for block in from_file(tmp_path / "a.wav").blocks] == [8_000, 8_000, 8_000, 6_000]


def patched(path: Path, at: int, data: bytes) -> Path:
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)
    return path


def test_what_is_no_sound_is_one_line(tmp_path: Path) -> None:
    empty, text, zero, slow, short = (tmp_path / f"{name}.wav" for name in ("empty", "text", "zero", "slow", "short"))
    empty.touch()
    text.write_text("not a sound")
    for path in (zero, slow):
        soundfile.write(path, WAVE, 16_000)
    patched(zero, 24, bytes(4))  # 0 Hz
    patched(slow, 24, (200).to_bytes(4, "little"))
    soundfile.write(short, WAVE[:0], 16_000)
    for path in (empty, text, zero, slow, short, tmp_path, tmp_path / "nowhere.wav"):
        with pytest.raises(UserError) as error:
            whole(from_file(path))
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


def test_a_damaged_file_says_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.tile(WAVE, 4), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    source = from_file(path)
    try:
        whole(source)
    except UserError as error:
        assert "cannot be decoded after" in str(error)  # noqa: PT017 (which of the two depends on libsndfile)
    else:
        assert "truncated: " in source.notes[0]


def test_a_wav_that_is_cut_short_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.tile(WAVE, 4), 16_000)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    source = from_file(tmp_path / "a.wav")
    heard = len(whole(source)) / 16_000
    assert source.notes == [f"{tmp_path / 'a.wav'}: truncated: {heard:.1f} of {len(WAVE) / 4_000:.1f} s could be read"]


def test_samples_that_are_no_numbers(tmp_path: Path) -> None:
    wave = WAVE.astype(np.float32)
    wave[20_000] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, 16_000, "FLOAT")
    with pytest.raises(UserError, match=r"samples that are NaN or infinite after 1\.0 s; mend the file"):
        whole(from_file(tmp_path / "a.wav"))


def test_raw_samples_and_one_byte_too_many() -> None:
    samples = np.arange(-20_000, 20_000, 2, dtype="<i2")
    source = from_stream(io.BytesIO(samples.tobytes()), 8_000)
    np.testing.assert_array_equal(whole(source), samples.astype(np.float32) / 32768)
    odd = from_stream(io.BytesIO(samples.tobytes() + b"x"), 8_000)
    np.testing.assert_array_equal(whole(odd), samples.astype(np.float32) / 32768)
    assert "ended in the middle of a sample" in odd.notes[0]
    with pytest.raises(UserError, match="standard input: no samples, expected raw ones of 16 bits"):
        whole(from_stream(io.BytesIO(), 16_000))
    with pytest.raises(UserError, match=r"--rate: sample rate 44 Hz, expected 4,000 to 768,000 Hz"):
        from_stream(io.BytesIO(), 44)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_sound_file_is_not_heard_as_raw_samples(kind: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(800, np.float32), 8_000, format=kind)
    file.seek(0)
    with pytest.raises(UserError, match=rf"(?i)standard input: begins as a {kind} file, .*name the file in place of -"):
        whole(from_stream(file, 8_000))


@pytest.mark.skipif(find_spec("sounddevice") is not None, reason="sounddevice is installed")
def test_without_sounddevice_there_is_another_way() -> None:
    with pytest.raises(UserError) as error:
        from_microphone(16_000)
    assert "give a FILE, or raw samples on standard input" in str(error.value)
    assert "\n" not in str(error.value)
