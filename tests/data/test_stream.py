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
from xmodal.data.stream import StreamedPairs
from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.store import content_id

MODALITIES = {"image": ImageModality(augment=ImageAugment(pad=1)), "text": TextModality()}


class Pixels(Processor):
    kind, sample_rate, log_mel = "image", None, False
    size, interpolation = (4, 4), "bilinear"

    def features(self, item):
        return np.ascontiguousarray(np.asarray(item).transpose(2, 0, 1))

    def collate(self, features):
        return {"pixels": torch.from_numpy(np.stack(features))}


class Ids(Processor):
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


def png(value, form="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(buffer, form, lossless=True)
    return buffer.getvalue()


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def tars(tmp_path):
    """Two shards of ten samples as img2dataset writes them; sample 13 is broken."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"{shard:05}.tar", "w") as tar:
            for n in range(10 * shard, 10 * shard + 10):
                image = b"broken" if n == 13 else png(10 * n)
                add(tar, f"{n:09}.png", image)
                add(tar, f"{n:09}.txt", f"number {n}".encode())
                add(tar, f"{n:09}.json", b"{}")
    return folder


def stream(path, batch_size=4, rank=0, world=1, modalities=MODALITIES, **spec):
    processors: dict[str, Processor] = {"image": Pixels(), "text": Ids()}
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
    assert [name for name, _ in skipped] == ["00001/000000013"]
    assert sorted([*names, "00001/000000013"]) == [f"{n // 10:05}/{n:09}" for n in range(20)]
    assert names != sorted(names)
    for batch in batches:
        for name, pixels, text in zip(
            batch.names, batch.inputs["image"]["pixels"], batch.item_ids["text"], strict=True
        ):
            number = int(name.partition("/")[2])
            assert pixels[0].max() == 10 * number
            assert text == content_id(f"number {number}")


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
    pairs.require_usable([("x", "left out: no text")] * 4, 4)  # four others came into the batch
    for bad, read in (([("x", "why")] * 4, 4), ([("x", "why")] * 4 + [("y", "left out: no text")] * 3, 4)):
        with pytest.raises(UserError, match=rf"{len(bad)} of {len(bad)} items \(100\.0%\) cannot be used"):
            pairs.require_usable(bad, read)


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
    pairs = stream(tmp_path, 6)
    batch, second, third = take(pairs, 3)
    skipped = [entry for one in (batch, second, third) for entry in one.skipped]
    assert sorted({reason for _, reason in skipped}) == ["left out: empty text", "left out: no text"]
    assert len(skipped) >= 4  # of two epochs at least,
    assert len(dict(skipped)) == 2  # under the same names
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
            add(tar, f"{n}.png", png(10 * n))
            add(tar, f"{n}.cls", str(n % 2).encode())
    modalities = {"image": ImageModality(), "text": TextModality(templates="plain")}
    [batch] = take(stream(tmp_path, 6, modalities=modalities), 1)
    pixels, texts = batch.inputs["image"]["pixels"], batch.item_ids["text"]
    found = dict(zip(pixels[:, 0, 0, 0].tolist(), texts.tolist(), strict=True))
    assert found == {10 * n: content_id(str(n % 2)) for n in range(6)}


def test_unusable_rows_of_one_process_are_left_out_by_all_and_told_once(tmp_path):
    rows = [{"image": png(n), "text": f"text {n}"} for n in range(40)]
    rows[21]["text"], rows[22]["text"], rows[23]["text"], rows[24]["text"] = " ", float("nan"), None, []
    folder = tmp_path / "a[b]c"
    folder.mkdir()
    pd.DataFrame(rows).astype({"text": object}).loc[[n for n in range(40) if n != 24]].to_parquet(folder / "0.parquet")
    whole = take(stream(folder, 4), 20)
    parts = [take(stream(folder, 4, rank, 4), 20) for rank in range(4)]
    for batch, *own in zip(whole, *parts, strict=True):
        assert [len(part) for part in own] == [1, 1, 1, 1]
        assert batch.names == tuple(name for part in own for name in part.names)
        assert batch.skipped == [entry for part in own for entry in part.skipped]
    told = [entry for batch in whole for entry in batch.skipped]
    assert len({name for name, _ in told}) == 3
    assert sorted(dict(told).values()) == ["left out: empty text", "left out: no text", "left out: no text"]
    texts = {int(item) for batch in whole for item in batch.item_ids["text"]}
    assert texts == {content_id(f"text {n}") for n in range(40) if n not in (21, 22, 23, 24)}
    names = [{name for batch in some for name in batch.names} for some in (whole[:9], whole[9:18])]
    assert names[0] == names[1]  # digests: the same in every epoch
    assert len(names[0]) == 36


def test_nan_in_the_rows_of_json_is_no_caption(tmp_path):
    lines = ['{"text": NaN, "label": "a"}'] + [f'{{"text": "t{n}", "label": "a"}}' for n in range(4)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    modalities = {"text": TextModality(), "image": TextModality(column="label")}
    processors = {"text": Ids(), "image": Ids()}
    data = DataSpec(train=f"hub:{tmp_path}", streaming=True, shuffle_buffer=8)
    batches = take(StreamedPairs(data, modalities, processors, 0, 4), 2)
    assert {int(item) for batch in batches for item in batch.item_ids["text"]} == {
        content_id(f"t{n}") for n in range(4)
    }
    assert {reason for batch in batches for _, reason in batch.skipped} <= {"left out: no text"}


def test_a_process_whose_images_cannot_be_read_has_an_empty_batch(tmp_path):
    rows = [{"image": b"broken" if n == 3 else png(n), "text": f"text {n}"} for n in range(8)]
    pd.DataFrame(rows).to_parquet(tmp_path / "0.parquet")
    parts = [take(stream(tmp_path, 8, rank, 8), 1)[0] for rank in range(8)]
    assert sorted(len(part) for part in parts) == [0] + [1] * 7
    [empty] = [part for part in parts if not len(part)]
    assert empty.inputs["image"]["pixels"].shape[0] == 0
    assert len(empty.skipped) == 1
    assert "no image" in empty.skipped[0][1]


def test_a_stream_without_a_usable_row_ends(tmp_path):
    pd.DataFrame([{"image": png(n), "text": ""} for n in range(18)]).to_parquet(tmp_path / "0.parquet")
    with pytest.raises(UserError, match=r"6 of 6 items \(100\.0%\) cannot be used.*left out: empty text"):
        take(stream(tmp_path, 6), 1)


def test_rows_that_are_alike_are_counted_each(tmp_path):
    rows = [{"image": png(n), "text": f"{n}"} for n in range(20)] + [{"image": png(1), "text": None}] * 150
    pd.DataFrame(rows).to_parquet(tmp_path / "0.parquet")
    batches = take(stream(tmp_path, 10, max_bad=0.02), 4)
    assert len({name for batch in batches for name, _ in batch.skipped}) == 150
    with pytest.raises(UserError, match=r"110 of 10000 items \(1\.1%\) cannot be used"):
        take(stream(tmp_path, 10), 4)


def test_tars_of_every_kind_of_image_with_captions_in_json_and_gaps(tmp_path):
    folder = tmp_path / "tars [1]"
    (folder / "more").mkdir(parents=True)
    with tarfile.open(folder / "a.tar", "w") as tar:
        for n in range(12):
            form = "PNG" if n < 6 else "WEBP"
            add(tar, f"{n}.{form.lower()}", png(10 * n, form))
            add(tar, f"{n}.json", f'{{"caption": "number {n}"}}'.encode())
        add(tar, "12.png", png(0))
        add(tar, "13.png", b"")
        add(tar, "13.txt", b"an empty image")
    with tarfile.open(folder / "more" / "a.tar", "w") as tar:
        for n in range(12, 16):
            add(tar, f"{n - 12}.png", png(10 * n))
            add(tar, f"{n - 12}.txt", f"number {n}".encode())
    cut = (folder / "more" / "a.tar").read_bytes()
    (folder / "more" / "a.tar").write_bytes(cut[: 14 * 512 + 100])  # within the last sample
    batches = take(stream(folder, 5), 6)
    skipped = dict(entry for batch in batches for entry in batch.skipped)
    assert skipped == {
        "a/12": "left out: no caption",
        "a/13": "left out: the image is empty",
        "more/a/3": "left out: no caption",
        str(folder / "more" / "a.tar"): f"left out: cut off at byte {14 * 512 + 100}; 4 images before it",
    }
    found = {}
    for batch in batches:
        pixels = batch.inputs["image"]["pixels"][:, 0].amax(dim=(1, 2)).tolist()
        found.update(zip(batch.names, zip(pixels, batch.item_ids["text"].tolist(), strict=True), strict=True))
    expected = {f"a/{n}": n for n in range(12)} | {f"more/a/{n}": n + 12 for n in range(3)}
    assert found == {name: (10 * n, content_id(f"number {n}")) for name, n in expected.items()}


def test_compressed_tars_are_not_streamed(tars):
    (tars / "00002.tar.gz").touch()
    with pytest.raises(UserError, match=r"00002\.tar\.gz: compressed"):
        stream(tars)


def test_tars_through_the_datasets_library(tmp_path):
    """As those of the hub are read: a folder stands in for one."""
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for n in range(4):
                add(tar, f"{n}.png", png(10 * (4 * shard + n)))
                add(tar, f"{n}.json", f'{{"caption": "number {4 * shard + n}"}}'.encode())
    [batch] = take(stream(f"hub:{tmp_path}", 8), 1)
    assert sorted(batch.names) == [f"{shard}/{n}" for shard in range(2) for n in range(4)]
    texts = {int(item) for item in batch.item_ids["text"]}
    assert texts == {content_id(f"number {n}") for n in range(8)}
