"""What an encoder's towers did not see whole: counted by side, one warning a call, also where nothing is read again."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from xmodal.encoding.embedding_cache import EmbeddingCache
from xmodal.encoding.encoder import Encoder
from xmodal.processor import Processor
from xmodal.store import EmbeddingStore, StoreWriter, content_id
from xmodal.towers.heads import Identity
from xmodal.towers.kinds.store import StoreProcessor
from xmodal.towers.own.text_encoder import TextEncoderTower
from xmodal.towers.tower import Tower

RATE = 8_000


class Start(Processor):
    """Hears the first half second."""

    kind, sample_rate = "audio", RATE

    def __init__(self) -> None:
        self.read = 0

    def features(self, item):
        self.read += 1
        return np.resize(item[: RATE // 2], RATE // 2)

    def cut(self, item):
        return f"audio of {len(item) / RATE:.1f} s cut to 0.5 s" if len(item) > RATE // 2 else None

    def collate(self, features):
        return {"x": torch.tensor(np.array([[x.mean(), x.std()] for x in features]), dtype=torch.float32)}

    def describe(self):
        return {"kind": "start"}


class Numbers(nn.Module):
    width = 2

    def forward(self, inputs):
        return inputs["x"] + 1


def text_tower():
    torch.manual_seed(0)
    kind = TextEncoderTower()
    backbone, processor = kind.load(TextEncoderTower.Spec(width=8, layers=1, heads=2, feed_forward=16, max_length=12))
    return Tower(backbone, Identity(8), locked=True), processor


def test_texts_are_counted_and_told_once_a_call(caplog: pytest.LogCaptureFixture) -> None:
    tower, processor = text_tower()
    encoder = Encoder({"text": tower}, {"text": processor}, name="runs/a")
    encoder.encode("text", ["short", "too long " * 5, "and so is this one", "fits"])
    assert encoder.cut == {"text": 2}
    [line] = [record.getMessage() for record in caplog.records]
    first = "too long " * 5
    assert line == f"runs/a: text: 2 of 4 items are cut short, the first {first!r}: text of 45 bytes cut to 10"
    encoder.encode("text", ["fits"])
    assert len(caplog.records) == 1
    encoder.encode("text", ["once more too long"])
    assert encoder.cut == {"text": 3}
    [told] = encoder.cut_items("text")
    assert (told["reason"], told["count"]) == ("text of N bytes cut to N", 3)
    assert told["examples"][1] == ["and so is this one", "text of 18 bytes cut to 10"]


def test_audio_is_counted_also_where_its_embedding_was_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = []
    for n, seconds in enumerate((0.3, 0.8, 2.0)):
        soundfile.write(tmp_path / f"{n}.wav", np.random.default_rng(n).standard_normal(int(seconds * RATE)) / 9, RATE)
        files.append(tmp_path / f"{n}.wav")
    counts = []
    for _ in range(2):
        encoder = Encoder({"speech": Tower(Numbers(), Identity(2))}, {"speech": Start()})
        encoder.cache = EmbeddingCache(tmp_path / "kept")
        encoder.encode("speech", files)
        counts.append(vars(encoder.processors["speech"])["read"])
        assert encoder.cut == {"speech": 2}
        assert [told["count"] for told in encoder.cut_items("speech")] == [2]
    assert counts == [3, 0]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all("2 of 3 items are cut short" in line and "1.wav': audio of 0.8 s cut to 0.5 s" in line for line in lines)


def test_texts_out_of_a_store_are_counted_too(tmp_path: Path) -> None:
    tower, processor = text_tower()
    long = "this text is longer than ten bytes"
    fingerprint = {"model": "m", "revision": None, "weights": "w", "preprocessing": {}, "data": "d"}
    with StoreWriter(tmp_path / "store", np.array([content_id(long)]), 8, fingerprint, "plan") as writer:
        writer.write(0, np.array([0]), np.ones((1, 8), np.float32))
    writer.finish({})
    stores = {"text": StoreProcessor(EmbeddingStore.open(tmp_path / "store"))}
    encoder = Encoder({"text": tower}, {"text": processor}, stores)
    torch.testing.assert_close(encoder.encode("text", [long]), torch.full((1, 8), 8**-0.5))
    assert encoder.cut == {"text": 1}


def test_what_never_changes_is_made_once() -> None:
    tower, processor = text_tower()
    trained = Tower(Numbers(), nn.Linear(2, 2))
    encoder = Encoder({"text": tower, "speech": trained}, {"text": processor, "speech": Start()})
    made: list[str] = []

    def make() -> int:
        made.append("x")
        return len(made)

    assert [encoder.remember("text", ("vectors", 1), make) for _ in range(3)] == [1, 1, 1]
    assert encoder.remember("text", ("vectors", 2), make) == 2
    assert [encoder.remember("speech", ("vectors", 1), make) for _ in range(2)] == [3, 4]
