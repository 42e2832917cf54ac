"""CIFAR on miniatures of its binary archives, on parquet, and on the real parquet files."""

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import rows_of
from PIL import Image

from xmodal.corpora.images.cifar import CIFAR10, CIFAR100, Version, prepare
from xmodal.errors import UserError

EACH = 6  # images of a binary file


def records(version: Version, split: str, number: int) -> np.ndarray:
    """One binary file, [EACH, labels + 3072] uint8."""
    rng = np.random.default_rng([number, split == "test"])
    made = rng.integers(0, 256, (EACH, len(version.labels) + 3072), np.uint8)
    made[:, : len(version.labels)] = rng.integers(0, 10, (EACH, len(version.labels)))
    return made


def miniature(version: Version, folder: Path) -> Version:
    """The unpacked binary version and its archive in `folder`; returns what a miniature should be."""
    unpacked = folder / version.folder
    unpacked.mkdir(parents=True)
    for split, names in version.files.items():
        for number, name in enumerate(names):
            (unpacked / name).write_bytes(records(version, split, number).tobytes())
    for column, name in version.labels.items():
        count = version.classes if column == "label" else 20
        (unpacked / name).write_text("".join(f"{column}_{n}\n" for n in range(count)) + "\n")
    (unpacked / "readme.html").write_text("about")
    with tarfile.open(folder / version.archive, "w:gz") as tar:
        tar.add(unpacked, version.folder)
    md5 = hashlib.md5((folder / version.archive).read_bytes()).hexdigest()
    return replace(version, md5=md5, images={"train": EACH, "test": EACH})


@pytest.mark.parametrize("published", [CIFAR10, CIFAR100])
def test_binary_version(published: Version, tmp_path: Path) -> None:
    version = miniature(published, tmp_path / "in")
    for number, root in enumerate(
        (tmp_path / "in" / version.archive, tmp_path / "in", tmp_path / "in" / version.folder)
    ):
        out = tmp_path / f"out{number}"
        written = prepare(version, root, out)
        assert written == {out / f"{s}.parquet": EACH * len(version.files[s]) for s in ("train", "test")}
        for split in ("train", "test"):
            expected = [record for n in range(len(version.files[split])) for record in records(version, split, n)]
            rows = rows_of(out / f"{split}.parquet")
            assert len({row["id"] for row in rows}) == len(rows) == len(expected)
            for row, record in zip(rows, expected, strict=True):
                *coarse, fine = record[: len(version.labels)]
                assert row["label"] == f"label_{fine}"
                assert [row.get("coarse")] == ([f"coarse_{coarse[0]}"] if coarse else [None])
                pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
                for x, y, channel in ((0, 0, 0), (31, 0, 1), (5, 17, 2)):  # row-major planes, as its page says
                    assert pixels[y, x, channel] == record[len(version.labels) + 1024 * channel + 32 * y + x]
    (tmp_path / "in" / version.archive).unlink()
    assert prepare(version, tmp_path / "in", tmp_path / "out9", 4, ["test"]) == {tmp_path / "out9" / "test.parquet": 4}


def test_a_split_already_made_is_left_alone(tmp_path: Path) -> None:
    version = miniature(CIFAR10, tmp_path / "in")
    out = tmp_path / "out"
    written = prepare(version, tmp_path / "in", out)
    stamps = {path: path.stat().st_mtime_ns for path in written}
    (out / "test.parquet").unlink()  # as if killed between the two
    assert prepare(version, tmp_path / "in", out) == written
    assert (out / "train.parquet").stat().st_mtime_ns == stamps[out / "train.parquet"]
    assert prepare(version, tmp_path / "in", out, limit=3) == dict.fromkeys(written, 3)


def test_broken_binary_versions(tmp_path: Path) -> None:
    version = miniature(CIFAR100, tmp_path)
    archive, folder, out = tmp_path / version.archive, tmp_path / version.folder, tmp_path / "out"
    with pytest.raises(UserError, match=rf"md5 {version.md5}, expected {CIFAR100.md5}, of cifar-100-binary"):
        prepare(CIFAR100, archive, out)
    archive.write_bytes(archive.read_bytes()[:-300])
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"not a readable .tar.gz|no .* in it"):
        prepare(replace(version, md5=md5), archive, out)
    archive.unlink()
    whole = (folder / "test.bin").read_bytes()
    for content, line in (
        (whole[:-1], f"test.bin has {len(whole) - 1} bytes, expected {len(whole)}"),
        (whole + b"x", f"test.bin has {len(whole) + 1} bytes, expected"),
        (b"\x14" + whole[1:], "image 0 of test has the coarse 20, of 20"),
    ):
        (folder / "test.bin").write_bytes(content)
        with pytest.raises(UserError, match=line):
            prepare(version, tmp_path, out, splits=["test"])
    (folder / "fine_label_names.txt").write_text("one two")
    with pytest.raises(UserError, match=r"2 class names, expected 100"):
        prepare(version, tmp_path, out, splits=["test"])
    (folder / "fine_label_names.txt").unlink()
    with pytest.raises(UserError, match=r"no fine_label_names.txt in it; is it the binary version, complete"):
        prepare(version, tmp_path, out, splits=["test"])
    assert not out.exists()


def test_pickles_are_refused_and_wrong_roots_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected cifar-10-binary.tar.gz, the folder cifar-10-batches-bin, or train"):
        prepare(CIFAR10, tmp_path, tmp_path / "out")
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(UserError, match=r"pickles are never opened .*; download cifar-10-binary.tar.gz in its place"):
        prepare(CIFAR10, tmp_path, tmp_path / "out")


def test_parquet(tmp_path: Path) -> None:
    version = replace(CIFAR10, images={"train": 2, "test": 10})
    for split, count in (("train", 10), ("test", 10)):
        images = [{"bytes": f"{split} {n}".encode(), "path": f"c{n}/0.jpg"} for n in range(count)]
        table = pa.table({"image": images, "label": [f"class {n % 10}" for n in range(count)], "more": [1] * count})
        (tmp_path / "in").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "in" / f"{split}.parquet")
    out = tmp_path / "out"
    assert prepare(version, tmp_path / "in", out) == {out / "train.parquet": 10, out / "test.parquet": 10}
    assert rows_of(out / "test.parquet")[3] == {
        "id": "test-00003",
        "image": {"bytes": b"test 3", "path": "c3/0.jpg"},
        "label": "class 3",
    }
    with pytest.raises(UserError, match=r"train.parquet: in the way, and not written here"):
        prepare(version, tmp_path / "in", tmp_path / "in")
    with pytest.raises(UserError, match=r"10 images of 10 classes, expected 50000 of 10; is it cifar10's train set"):
        prepare(CIFAR10, tmp_path / "in", tmp_path / "whole")
    for table, line in (
        (pa.table({"image": ["a.jpg"], "label": ["x"]}), "column 'image' holds string, expected struct"),
        (pa.table({"img": ["a.jpg"], "label": ["x"]}), "missing column image; found img, label"),
    ):
        pq.write_table(table, tmp_path / "in" / "test.parquet")
        with pytest.raises(UserError, match=line):
            prepare(version, tmp_path / "in", tmp_path / "odd", splits=["test"])
    assert not (tmp_path / "odd").exists()


def test_the_real_parquet_files(xmodal_data: Path, tmp_path: Path) -> None:
    root = xmodal_data / "cifar10"
    assert prepare(CIFAR10, root, tmp_path, splits=["test"]) == {tmp_path / "test.parquet": 10_000}
    ours, theirs = pq.read_table(tmp_path / "test.parquet"), pq.read_table(root / "test.parquet")
    assert ours["label"].equals(theirs["label"])
    assert ours["image"].combine_chunks().field("bytes").equals(theirs["image"].combine_chunks().field("bytes"))
    assert len(set(ours["id"].to_pylist())) == 10_000
