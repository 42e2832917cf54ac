"""Streamed pairs: the same items as reading them whole, exact on resume, the same for every number of processes."""

import io
import tarfile

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from xmodal.config.data import DataSpec, ImageAugment, ImageModality, TextModality
from xmodal.data.side import ItemProcessor
from xmodal.data.stream import StreamedPairs
from xmodal.errors import UserError
from xmodal.store import content_id

MODALITIES = {"image": ImageModality(augment=ImageAugment(pad=1)), "text": TextModality()}


class Pixels:
    kind, sample_rate, log_mel = "image", None, False
    size, interpolation = (4, 4), "bilinear"

    def features(self, item):
        return np.ascontiguousarray(np.asarray(item).transpose(2, 0, 1))

    def collate(self, features):
        return {"pixels": torch.from_numpy(np.stack(features))}


class Ids:
    sample_rate, log_mel = None, False

    def __init__(self, kind="text"):
        self.kind = kind

    def features(self, item):
        return np.array([content_id(item)])

    def collate(self, features):
        return {"ids": torch.from_numpy(np.stack(features))}


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    """`datasets` waits 5 s for its reading threads at the end of every shuffled parquet stream."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.05)


def png(value):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def tars(tmp_path):
    """Two shards of ten samples as img2dataset writes them; sample 13 is broken."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"{shard:05}.tar", "w") as tar:
            for n in range(10 * shard, 10 * shard + 10):
                image = b"broken" if n == 13 else png(10 * n)
                for suffix, data in (("png", image), ("txt", f"number {n}".encode()), ("json", b"{}")):
                    member = tarfile.TarInfo(f"{n:09}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


def stream(path, batch_size=4, rank=0, world=1, modalities=MODALITIES, **spec):
    processors: dict[str, ItemProcessor] = {"image": Pixels(), "text": Ids()}
    data = DataSpec(train=path, streaming=True, shuffle_buffer=8, **spec)
    return StreamedPairs(data, modalities, processors, 0, batch_size, rank, world)


def take(pairs, count):
    batches = iter(pairs)
    return [next(batches) for _ in range(count)]


def same(a, b):
    assert a.names == b.names
    torch.testing.assert_close(a.inputs, b.inputs)


def test_an_epoch_holds_every_sample_once_with_its_own_caption(tars):
    batches = take(stream(tars), 5)
    names = [name for batch in batches for name in batch.names]
    skipped = [entry for batch in batches for entry in batch.skipped]
    assert len(names) == 19
    assert [name for name, _ in skipped] == ["000000013"]
    assert sorted([*names, "000000013"]) == [f"{n:09}" for n in range(20)]
    assert names != sorted(names)
    for batch in batches:
        for name, pixels, text in zip(
            batch.names, batch.inputs["image"]["pixels"], batch.item_ids["text"], strict=True
        ):
            assert pixels[0].max() == 10 * int(name)
            assert text == content_id(f"number {int(name)}")


def test_epochs_differ_and_resuming_is_exact(tars):
    whole = take(stream(tars), 12)
    assert [b.names for b in whole[:5]] != [b.names for b in whole[5:10]]
    for a, b in zip(whole[7:], take(stream(tars).iterate_from(7), 5), strict=True):
        same(a, b)


def test_processes_share_each_batch(tars):
    whole = take(stream(tars, 6), 4)
    parts = [take(stream(tars, 6, rank, 2), 4) for rank in range(2)]
    for batch, *own in zip(whole, *parts, strict=True):
        assert batch.names == tuple(name for part in own for name in part.names)
        pixels = torch.cat([part.inputs["image"]["pixels"] for part in own])
        torch.testing.assert_close(batch.inputs["image"]["pixels"], pixels)


def test_parquet_folders_with_templates_and_classes_left_out(tmp_path):
    for part in range(2):
        rows = [{"image": png(10 * n), "label": "ab"[n % 2]} for n in range(8 * part, 8 * part + 8)]
        pd.DataFrame(rows).to_parquet(tmp_path / f"{part}.parquet")
    modalities = {"image": ImageModality(), "text": TextModality(templates="cifar")}
    batches = take(stream(tmp_path, modalities=modalities, leave_out_labels=("b",)), 2)
    texts = {
        content_id(f"a {kind}photo of {one} a.") for kind in ("", "bad ", "good ", "blurry ") for one in ("a", "the")
    }
    found = {int(i) for batch in batches for i in batch.item_ids["text"]}
    assert len(found) > 3
    assert found & texts
    assert {int(b.inputs["image"]["pixels"][0, 0, 0, 0]) % 20 for b in batches} == {0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 64}, "64 pairs, but .* has 20"),
        (
            {"modalities": {"image": ImageModality(), "text": TextModality(column="caption")}},
            "missing column 'caption'",
        ),
    ],
)
def test_mistakes(tars, change, message):
    with pytest.raises(UserError, match=message):
        take(stream(tars, **change), 1)


def test_what_cannot_be_streamed(tars, tmp_path):
    (tmp_path / "m.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="takes hub:NAME or a folder of tars or parquet"):
        stream(tmp_path / "m.jsonl")
    data = DataSpec(train=tars, streaming=True)
    with pytest.raises(UserError, match=r"towers\.text is read from a store"):
        StreamedPairs(data, MODALITIES, {"image": Pixels(), "text": Ids("item_id")}, 0, 4)
    pairs = stream(tars)
    with pytest.raises(UserError, match=r"150 of 10000 items \(1\.5%\) cannot be used"):
        pairs.require_usable([("x", "why")] * 150, 200)


def test_class_numbers_become_names_and_rows_without_a_caption_are_skipped(tmp_path):
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "text": datasets.Value("string"),
        }
    )
    rows = {
        "image": [{"bytes": png(10 * n), "path": None} for n in range(8)],
        "label": [n % 2 for n in range(8)],
        "text": ["one", "two", None, " ", "five", "six", "seven", "eight"],
        "image_id": ["a", "b"] * 4,
    }
    columns = {**features, "image_id": datasets.Value("string")}
    datasets.Dataset.from_dict(rows, datasets.Features(columns)).to_parquet(tmp_path / "0.parquet")
    pairs = stream(tmp_path, 8)
    [batch] = take(pairs, 1)
    assert sorted(reason for _, reason in batch.skipped) == ["empty text", "no text"]
    assert len(batch) == 6
    assert pairs.named == {"image"}
    assert set(batch.item_ids["image"].tolist()) == {content_id("a"), content_id("b")}
    labels = {"image": ImageModality(), "text": TextModality(templates="cifar")}
    [batch] = take(stream(tmp_path, 4, modalities=labels, leave_out_labels=("dog",)), 1)
    assert {int(x) % 20 for x in batch.inputs["image"]["pixels"][:, 0, 0, 0]} == {0}
    with pytest.raises(UserError, match=r"no row of .* has the label 'cow'"):
        take(stream(tmp_path, 4, modalities=labels, leave_out_labels=("cow",)), 3)


def test_classes_of_webdatasets_tars(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for n in range(6):
            for name, data in ((f"{n}.png", png(10 * n)), (f"{n}.cls", str(n % 2).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    modalities = {"image": ImageModality(), "text": TextModality(templates="plain")}
    [batch] = take(stream(tmp_path, 6, modalities=modalities), 1)
    pixels, texts = batch.inputs["image"]["pixels"], batch.item_ids["text"]
    found = dict(zip(pixels[:, 0, 0, 0].tolist(), texts.tolist(), strict=True))
    assert found == {10 * n: content_id(str(n % 2)) for n in range(6)}
