"""Pairs of texts and noises, the files of some of them broken, and processors that give them back."""

import numpy as np
import soundfile
import torch

from xmodal.config.augment.audio import SpeechAugment
from xmodal.config.data import AudioModality, DataSpec, TextModality
from xmodal.data.dataset import PairDataset
from xmodal.data.sampler import BatchKey
from xmodal.files import write_json_lines
from xmodal.processor import Processor

RATE = 8_000
MODALITIES = {"text": TextModality(), "speech": AudioModality()}


def pad(features):
    width = max(len(f) for f in features)
    lengths = torch.tensor([len(f) for f in features])
    values = torch.stack(
        [torch.nn.functional.pad(torch.as_tensor(f), (0, 0) * (f.ndim - 1) + (0, width - len(f))) for f in features]
    )
    return {"values": values, "lengths": lengths}


class Letters(Processor):
    """Text to character codes."""

    kind = "text"
    sample_rate = None
    log_mel = False

    def features(self, item):
        return np.frombuffer(item.encode(), np.uint8).astype(np.int64)

    def collate(self, features):
        return pad(features)


class Frames(Processor):
    """Audio to the log energy of 8 pieces of each 10 ms frame."""

    kind = "audio"
    sample_rate = RATE
    log_mel = True

    def __init__(self):
        self.calls = 0

    def features(self, item):
        self.calls += 1
        assert item.dtype == np.float32
        frames = item[: len(item) // 80 * 80].reshape(-1, 8, 10)
        return np.log(1e-4 + (frames**2).mean(axis=2)).astype(np.float16)

    def collate(self, features):
        return pad(features)


class Ids(Processor):
    """A store's rows: the item id itself."""

    kind = "item_id"
    sample_rate = None
    log_mel = False

    def features(self, item):
        assert isinstance(item, int)
        return np.int64(item)

    def collate(self, features):
        return {"ids": torch.from_numpy(np.stack(features))}


def make(folder, count=24, broken=None, **columns):
    """`count` pairs of 0.1 to 0.5 s; `broken` maps a row to what is done to its file."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(count):
        wave = rng.standard_normal(int(rng.uniform(0.1, 0.5) * RATE)) * 0.1
        if (broken or {}).get(n) == "nan":
            wave[5] = np.nan
        if (broken or {}).get(n) == "short":
            wave = wave[:100]
        soundfile.write(folder / f"{n}.wav", wave, RATE, subtype="FLOAT")
        if (broken or {}).get(n) == "junk":
            (folder / f"{n}.wav").write_text("junk")
        if (broken or {}).get(n) == "missing":
            (folder / f"{n}.wav").unlink()
        rows.append(
            {"id": f"p{n}", "text": f"sentence {n % 7}" + "!" * (n % 5), "speech": f"{n}.wav", "label": "abc"[n % 3]}
            | {name: values[n] for name, values in columns.items()}
        )
    write_json_lines(folder / "m.jsonl", rows)
    return folder / "m.jsonl"


def build(path, modalities=None, processors=None, seed=0, train=True, **spec):
    processors = processors or {"text": Letters(), "speech": Frames()}
    return PairDataset(DataSpec(train=path, **spec), modalities or MODALITIES, processors, seed, train)


def speech(augment=None, **fields):
    return {"text": TextModality(), "speech": AudioModality(augment=augment or SpeechAugment(), **fields)}


def key(*indices, epoch=0):
    return BatchKey(epoch, np.array(indices))


def cached(dataset):
    return next(iter(dataset.sides.values())).cache._arrays


def same(a, b):
    assert a.names == b.names
    torch.testing.assert_close(a.inputs, b.inputs, rtol=0, atol=0)
    torch.testing.assert_close([a.ids, a.item_ids, a.labels], [b.ids, b.item_ids, b.labels], rtol=0, atol=0)
