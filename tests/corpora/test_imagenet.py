"""ImageNet and its relatives on miniatures of their archives; the flat val set with a devkit written by scipy."""

from pathlib import Path

import numpy as np
import pytest
from pictures import rows_of, save, skipped_of
from scipy.io import savemat

from xmodal.corpora.imagenet import prepare, prepare_a, prepare_r, prepare_v2
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
        UserError, match=r"ground_truth.txt: no such file; val/ holds no class folders.*unpack ILSVRC2012"
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


def test_a_wrong_root(tmp_path: Path) -> None:
    save(tmp_path / "n01440764" / "a.jpg")
    for splits, needed in (((), "train, val"), (["val"], "val")):
        with pytest.raises(UserError, match=rf"expected {needed}; found n01440764; ROOT is the folder into which"):
            prepare(tmp_path, tmp_path / "out", splits=splits)
