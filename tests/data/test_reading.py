"""One item to features: what may name an item, and which lengths are refused."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image
from processors import RATE, Names, Pixels, Stored, Waves

from xmodal.config.data import AudioModality, DataSpec, ImageModality, TextModality
from xmodal.data.audio import AudioError
from xmodal.data.dataset import PairDataset
from xmodal.data.image import ImageError
from xmodal.data.reading import ItemReader, empty_batch, lengths_of
from xmodal.data.sampler import BatchKey
from xmodal.data.sources.tar_index import index_tars
from xmodal.errors import UserError


def red(value=200):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_audio_by_path_bytes_address_and_samples_is_the_same(tmp_path):
    wave = (np.random.default_rng(0).standard_normal(1000) * 0.1).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    data = (tmp_path / "a.wav").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a.wav", "a.wav")
    with tarfile.open(tmp_path / "a.tar") as tar:
        offset = tar.getmembers()[0].offset_data
    reader = ItemReader(Waves(), tmp_path, sample_rate=RATE)
    for item in ("a.wav", Path("a.wav"), data, f"a.tar@{offset}+{len(data)}", wave, np.stack([wave, wave])):
        np.testing.assert_allclose(reader.features(item), wave, atol=1e-7)
    with pytest.raises(UserError, match="need their sample rate"):
        ItemReader(Waves()).features(wave)
    for bad in ("none.wav", b"junk", "a.tar@512+7"):
        with pytest.raises(AudioError):
            reader.features(bad)


def test_images_by_path_bytes_address_picture_and_pixels_are_the_same(tmp_path):
    (tmp_path / "a.png").write_bytes(red())
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
        (tmp_path / "a.txt").write_text("red")
        tar.add(tmp_path / "a.txt", "a.txt")
    address = index_tars(tmp_path)[0]["image"]
    expected = np.zeros((3, 4, 4), np.uint8)
    expected[0] = 200
    picture = Image.open(tmp_path / "a.png")
    reader = ItemReader(Pixels(), tmp_path)
    for item in ("a.png", Path("a.png"), red(), address, picture, picture.convert("RGBA"), expected.transpose(1, 2, 0)):
        np.testing.assert_array_equal(reader.features(item), expected)
    np.testing.assert_array_equal(reader.features(np.full((4, 4), 7, np.uint8)), np.full((3, 4, 4), 7))
    for bad in ("none.png", b"junk", np.zeros((4, 4, 3)), np.zeros((0, 4), np.uint8), np.zeros(3, np.uint8)):
        with pytest.raises(ImageError):
            reader.features(bad)
    with pytest.raises(ImageError, match="more than max_pixels"):
        ItemReader(Pixels(), max_pixels=15).features(red())


def test_texts_must_be_texts():
    with pytest.raises(UserError, match="expected texts, found int"):
        ItemReader(Names()).features(7)


def test_one_rule_on_lengths(tmp_path):
    for name, seconds in (("short", 0.01), ("fine", 0.5), ("long", 2.0)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(int(seconds * RATE)), RATE)
    names = ["short.wav", "fine.wav", "long.wav", "none.wav"]
    lengths, reasons = lengths_of(AudioModality(max_seconds=1.0), names, tmp_path)
    assert lengths.tolist() == [0, 0.5, 0, 0]
    assert reasons == {
        0: f"{tmp_path / 'short.wav'}: 0.01 s, expected 0.05 to 1 s",
        2: f"{tmp_path / 'long.wav'}: 2.00 s, expected 0.05 to 1 s",
        3: f"{tmp_path / 'none.wav'}: no such file",
    }
    lengths, reasons = lengths_of(TextModality(), ["four", " "])
    assert lengths.tolist() == [4, 1]
    assert reasons == {1: "empty text"}
    assert lengths_of(ImageModality(), [b"whatever"])[0].tolist() == [0]


def test_audio_as_bytes_in_a_table_as_datasets_writes_it(tmp_path):
    """Hub sets of speech hold {bytes, path}: the headers are read from the bytes."""
    rows = []
    for n, seconds in enumerate((0.3, 0.01, 0.5)):
        soundfile.write(tmp_path / "a.wav", np.full(int(seconds * RATE), n / 10), RATE, subtype="FLOAT")
        rows.append({"bytes": (tmp_path / "a.wav").read_bytes(), "path": None})
    rows.append({"bytes": b"junk", "path": None})
    pq.write_table(pa.table({"speech": rows, "text": list("abcd")}), tmp_path / "m.parquet")
    modalities = {"speech": AudioModality(), "text": TextModality()}
    data = DataSpec(train=tmp_path / "m.parquet", max_bad=0.6)
    dataset = PairDataset(data, modalities, {"speech": Waves(), "text": Names()}, 0)
    assert dataset.lengths.tolist() == [0.3, 0.5]
    (one, short), (other, broken) = dataset.skipped
    assert (one, other) == ("1", "3")
    assert "0.01 s, expected 0.05 to 30 s" in short
    assert "4 bytes: cannot be decoded" in broken
    batch = dataset[BatchKey(0, np.array([1]))]
    np.testing.assert_allclose(batch.inputs["speech"]["waves"][0].numpy(), np.full(RATE // 2, 0.2), atol=1e-6)


def test_a_batch_of_no_items_has_the_shapes_of_others():
    for processor in (Waves(), Pixels(), Names(), Stored()):
        for rows in empty_batch(processor, 7).values():
            assert rows.shape[0] == 0
    assert empty_batch(Pixels())["pixels"].shape == (0, 3, 64, 64)
