"""ImageNet and its relatives on miniatures of their archives; the flat val set with a devkit written by scipy."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from pictures import rows_of, save, skipped_of
from scipy.io import savemat

from xmodal.corpora.images.imagenet import prepare, prepare_a, prepare_r, prepare_v2
from xmodal.data.image import read_image
from xmodal.data.manifest import made_of
from xmodal.errors import UserError

WNIDS = ("n01440764", "n01443537", "n02119789")  # classes 0, 1 and 278


def test_class_folders(tmp_path: Path) -> None:
    root, out = tmp_path / "imagenet", tmp_path / "out"
    for wnid in WNIDS:
        for number in range(2):
            save(root / "train" / wnid / f"{wnid}_{number}.JPEG")
        save(root / "val" / wnid / "ILSVRC2012_val_00000001.JPEG")
    (root / "val" / "lost+found").mkdir()
    written = prepare(root, out)
    assert written[out / "train.parquet"] == 6
    assert written[out / "val.parquet"] == 3
    for row in rows_of(out / "train.parquet"):
        assert row["id"] == f"{row['label']}/{Path(row['image']).name}"
        assert Path(row["image"]).parent == root / "train" / row["label"]
    assert skipped_of(out / "val.parquet") == {
        "lost+found": "not a class of this corpus, or its name is not UTF-8",
        "val": "3 classes with images; the whole corpus has 1000",
    }
    assert next(iter(prepare(root, tmp_path / "one", splits=["val"]))) == tmp_path / "one" / "val.parquet"
    assert not (tmp_path / "one" / "train.parquet").exists()


def devkit(root: Path, truth: list[int]) -> None:
    """meta.mat as the devkit has it: 1-based ids in an order of their own, then inner nodes of the tree."""
    ids = {2: "n02119789", 1: "n01443537", 3: "n01440764", 1001: "n00001740"}
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.zeros((len(ids), 1), kind)
    for row, (number, wnid) in enumerate(ids.items()):
        synsets[row, 0] = (number, wnid, f"words of {wnid}", int(number > 1000))
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": synsets})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{n}\n" for n in truth))


def test_flat_validation_set(tmp_path: Path) -> None:
    root, out = tmp_path / "imagenet", tmp_path / "out"
    for number in (1, 2, 4, 9):
        save(root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG")
    (root / "val" / "ILSVRC2012_val_00000003.JPEG").touch()
    with pytest.raises(
        UserError, match=r"ground_truth.txt: no such file; the val images are in no class folders.*unpack ILSVRC2012"
    ):
        prepare(root, out)
    assert not out.exists()
    devkit(root, [3, 1, 1, 2, 2])
    assert prepare(root, out)[out / "val.parquet"] == 3
    assert {row["id"]: row["label"] for row in rows_of(out / "val.parquet")} == {
        "ILSVRC2012_val_00000001.JPEG": "n01440764",
        "ILSVRC2012_val_00000002.JPEG": "n01443537",
        "ILSVRC2012_val_00000004.JPEG": "n02119789",
    }
    assert skipped_of(out / "val.parquet") == {
        "ILSVRC2012_val_00000003.JPEG": "an empty file",
        "ILSVRC2012_val_00000005.JPEG": "missing",
        "ILSVRC2012_val_00000009.JPEG": "not an image of the validation set",
    }
    (root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat").write_bytes(b"no matlab")
    with pytest.raises(UserError, match=r"meta.mat and .* do not fit; unpack the devkit again"):
        prepare(root, out)


def packed(path: Path, files: dict[str, bytes]) -> bytes:
    """A tar at `path`; returns its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path.read_bytes()


def test_train_as_published_is_read_in_place(tmp_path: Path) -> None:
    root = tmp_path / "tars"
    tars = {}
    for shade, wnid in enumerate(WNIDS, start=1):
        files = {f"{wnid}_{n}.JPEG": save(tmp_path / "made.png", 10 * shade + n).read_bytes() for n in (1, 2)}
        files |= {f"{wnid}_3.JPEG": b"", "notes.txt": b"no picture"} if shade == 1 else {}
        tars[f"{wnid}.tar"] = packed(root / "train" / f"{wnid}.tar", files)
    (tmp_path / "whole").mkdir()
    packed(tmp_path / "whole" / "ILSVRC2012_img_train.tar", tars | {"readme": b"about"})
    for name, left_out in (("tars", 3), ("whole", 4)):
        out = tmp_path / f"out_{name}"
        manifest, skipped = out / "train.parquet", out / "train.skipped.jsonl"
        assert prepare(tmp_path / name, out) == {manifest: 6, skipped: left_out}
        rows = rows_of(manifest)
        assert [row["id"] for row in rows] == [f"{wnid}/{wnid}_{n}.JPEG" for wnid in sorted(WNIDS) for n in (1, 2)]
        for row in rows:
            shade = 10 * (WNIDS.index(row["label"]) + 1) + int(row["id"][-6])
            assert read_image(row["image"], out).getpixel((0, 0)) == (shade, 10, 20)
        found = skipped_of(manifest)
        assert [reason for item, reason in found.items() if item.endswith("n01440764_3.JPEG")] == ["an empty file"]
        assert found[name if name == "whole" else "train"] == "3 classes with images; the whole corpus has 1000"
        date = manifest.stat().st_mtime_ns
        assert prepare(tmp_path / name, out) == {manifest: 6, skipped: left_out}
        assert manifest.stat().st_mtime_ns == date
    cut = root / "train" / "n02119789.tar"
    cut.write_bytes(cut.read_bytes()[: 3 * 512 + 30])  # a header, an image, a header, half an image
    (root / "train" / "n01443537.tar").write_bytes(b"no tar")
    assert prepare(root, tmp_path / "out_tars")[tmp_path / "out_tars" / "train.parquet"] == 3
    found = skipped_of(tmp_path / "out_tars" / "train.parquet")
    assert found["n02119789.tar"] == "cut off at byte 1566; what comes before is kept"
    assert found["n01443537.tar"] == "no image of a class in it"


def test_validation_archive_is_read_in_place(tmp_path: Path) -> None:
    root, out = tmp_path / "imagenet", tmp_path / "out"
    images = {f"ILSVRC2012_val_{n:08d}.JPEG": save(tmp_path / "made.png", n).read_bytes() for n in (1, 2, 4)}
    packed(root / "ILSVRC2012_img_val.tar", images | {"ILSVRC2012_val_00000003.JPEG": b""})
    devkit(root, [3, 1, 1, 2, 2])
    assert prepare(root, out) == {out / "val.parquet": 3, out / "val.skipped.jsonl": 2}
    assert {row["id"]: row["label"] for row in rows_of(out / "val.parquet")} == {
        "ILSVRC2012_val_00000001.JPEG": "n01440764",
        "ILSVRC2012_val_00000002.JPEG": "n01443537",
        "ILSVRC2012_val_00000004.JPEG": "n02119789",
    }
    for row in rows_of(out / "val.parquet"):
        assert read_image(row["image"]).getpixel((0, 0))[0] == int(row["id"][-6])
    assert made_of(out / "val.parquet")["labels_from"] == "ILSVRC2012_validation_ground_truth.txt"
    truth = root / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("1\n1\n1\n2\n2\n")
    prepare(root, out)
    assert {row["label"] for row in rows_of(out / "val.parquet")} == {"n01443537", "n02119789"}


def test_v2_folders_are_class_indices_not_names_in_order(tmp_path: Path) -> None:
    root = tmp_path / "imagenetv2-matched-frequency-format-val"
    for index in (0, 2, 10, 278, 999):  # sorted as text, 10 and 278 come elsewhere
        save(root / str(index) / "a.jpeg")
    save(root / "1000" / "a.jpeg")
    for given, out in ((root, tmp_path / "a"), (tmp_path, tmp_path / "b")):
        assert prepare_v2(given, out)[out / "test.parquet"] == 5
        found = {row["id"].partition("/")[0]: row["label"] for row in rows_of(out / "test.parquet")}
        assert found == {"0": "n01440764", "2": "n01484850", "10": "n01530575", "278": "n02119789", "999": "n15075141"}
        assert set(skipped_of(out / "test.parquet")) == {"1000", root.name}


@pytest.mark.parametrize("prepare_one", [prepare_r, prepare_a])
def test_r_and_a(tmp_path: Path, prepare_one: object) -> None:
    assert callable(prepare_one)
    root, out = tmp_path / "imagenet", tmp_path / "out"
    for number in range(200):
        save(root / f"n{number:08d}" / "art_0.jpg")
    (root / "README.txt").write_text("about")
    assert prepare_one(root, out) == {out / "test.parquet": 200}  # whole: nothing to note
    assert [row["label"] for row in rows_of(out / "test.parquet")] == [f"n{number:08d}" for number in range(200)]
    with pytest.raises(UserError, match=r"expected class folders named by wnid, such as n01440764"):
        prepare_one(tmp_path, tmp_path / "other")
    root.rename(tmp_path / {prepare_r: "imagenet-r", prepare_a: "imagenet-a"}[prepare_one])
    assert prepare_one(tmp_path, tmp_path / "other") == {tmp_path / "other" / "test.parquet": 200}


def test_a_wrong_root(tmp_path: Path) -> None:
    save(tmp_path / "n01440764" / "a.jpg")
    for splits, needed in (((), "train, val"), (["val"], "val")):
        with pytest.raises(UserError, match=rf"expected {needed}; found n01440764; ROOT is the folder into which"):
            prepare(tmp_path, tmp_path / "out", splits=splits)
