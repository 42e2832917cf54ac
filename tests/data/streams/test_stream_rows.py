"""Rows of streams: what is named, left out and counted in them, and every kind of tar."""

import tarfile

import pandas as pd
import pytest
from streamed_pairs import Ids, add, png, stream, take

from xmodal.config.data import DataSpec, ImageModality, TextModality
from xmodal.data.stream import StreamedPairs
from xmodal.errors import UserError
from xmodal.store import content_id


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
