"""Karpathy's splits, on miniatures of the published files: COCO's layout and Flickr30k's."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pictures import rows_of, skipped_of

from xmodal.config.data import ImageModality, TextModality
from xmodal.corpora.captions.karpathy import prepare_coco, prepare_flickr30k
from xmodal.data.manifest import made_of, read_manifest, read_pairs
from xmodal.errors import UserError
from xmodal.evaluation.retrieval.retrieval import Retrieval
from xmodal.evaluation.test_sets.retrieval_pairs import read_both

# File, folder in COCO, split, captions.
IMAGES = [
    ("a.jpg", "val2014", "test", ["A dog runs.", "a dog\n  on grass "]),
    ("b.jpg", "val2014", "val", ["A cat."]),
    ("c.jpg", "train2014", "train", ["Two cars.", "cars"]),
    ("d.jpg", "val2014", "restval", ["A boat."]),
    ("e.jpg", "val2014", "test", ["A dog runs.", " ", "ein Hündchen"]),
]


def corpus(root: Path, name: str) -> Path:
    """The split file and one byte per image."""
    entries, sentence = [], 100
    for number, (file, folder, split, captions) in enumerate(IMAGES):
        sentences = [
            {"raw": c, "tokens": c.split(), "imgid": number, "sentid": sentence + i} for i, c in enumerate(captions)
        ]
        sentence += len(captions)
        entry = {"filename": file, "imgid": number, "split": split, "sentences": sentences}
        entries.append(entry | ({"filepath": folder, "cocoid": 7 * number} if name == "coco" else {}))
        place = root / (folder if name == "coco" else "flickr30k-images") / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    (root / f"dataset_{name}.json").write_text(json.dumps({"images": entries, "dataset": name}))
    return root


def test_coco(tmp_path: Path) -> None:
    root, out = corpus(tmp_path / "coco", "coco"), tmp_path / "out"
    written = prepare_coco(root, out)
    assert {p.name: n for p, n in written.items()} == {
        "test.parquet": 4, "val.parquet": 1, "train.parquet": 2, "restval.parquet": 1,
    }  # fmt: skip
    rows = rows_of(out / "test.parquet")
    assert [(r["id"], r["image_id"], r["text"]) for r in rows] == [
        ("100", "a.jpg", "A dog runs."),
        ("101", "a.jpg", "a dog on grass"),
        ("106", "e.jpg", "A dog runs."),
        ("108", "e.jpg", "ein Hündchen"),
    ]
    assert {r["image"] for r in rows} == {str(root.resolve() / "val2014" / f) for f in ("a.jpg", "e.jpg")}
    assert [r["text_id"] for r in rows] == [r["id"] for r in rows]
    assert "text_id" not in rows_of(out / "train.parquet")[0]
    assert read_manifest(out / "test.parquet", ["image", "text"])[3]["text"] == "ein Hündchen"
    images, texts, pairs = read_both(Retrieval.Spec(test=out / "test.parquet"), {})[:3]
    assert (images.names, len(texts.items)) == (["a.jpg", "e.jpg"], 4)  # "A dog runs." is two queries
    assert pairs.tolist() == [[0, 0], [0, 1], [1, 2], [1, 3]]
    _, items = read_pairs(out / "train.parquet", {"image": ImageModality(), "text": TextModality()})
    assert items["text"].value(1) == "cars"


def test_flickr30k_in_the_images_own_folder(tmp_path: Path) -> None:
    root = corpus(tmp_path, "flickr30k")
    written = prepare_flickr30k(root, root, splits=["test"])
    assert {p.name for p in written} == {"test.parquet"}
    assert {r["image"] for r in rows_of(root / "test.parquet")} == {"flickr30k-images/a.jpg", "flickr30k-images/e.jpg"}


def test_what_is_missing_is_written_down(tmp_path: Path) -> None:
    root = corpus(tmp_path / "coco", "coco")
    (root / "val2014" / "e.jpg").unlink()
    (root / "val2014" / "b.jpg").write_bytes(b"")
    (root / "train2014" / "c.jpg").unlink()
    content = json.loads((root / "dataset_coco.json").read_text())
    content["images"][3]["sentences"] = []
    (root / "dataset_coco.json").write_text(json.dumps(content))
    out = tmp_path / "out"
    written = prepare_coco(root, out)  # of the other splits no image is there
    assert {p.name: n for p, n in written.items()} == {"test.parquet": 2, "test.skipped.jsonl": 1}
    assert skipped_of(out / "test.parquet") == {"e.jpg": "no such file"}
    for split, reason in (("val", "an empty file"), ("train", "no such file"), ("restval", "no caption")):
        with pytest.raises(UserError, match=rf"none of the 1 images of {split} can be used, the first: .*\({reason}\)"):
            prepare_coco(root, out, splits=["test", split])
    (root / "val2014" / "e.jpg").write_bytes(b"x")
    prepare_coco(root, out)
    assert [p.name for p in out.iterdir()] == ["test.parquet"]


def test_where_a_manifest_comes_from_and_when_it_is_read_again(tmp_path: Path) -> None:
    root, out = corpus(tmp_path / "coco", "coco"), tmp_path / "out"
    split_file = root / "dataset_coco.json"
    written = prepare_coco(root, out)
    made = made_of(out / "val.parquet")
    assert {key: made[key] for key in ("split_file", "sha256", "split", "left_out")} == {
        "split_file": "dataset_coco.json",
        "sha256": hashlib.sha256(split_file.read_bytes()).hexdigest(),
        "split": "val",
        "left_out": 0,
    }
    dates = {path: path.stat().st_mtime_ns for path in written}
    assert prepare_coco(root, out) == written
    assert {path: path.stat().st_mtime_ns for path in written} == dates
    (root / "val2014" / "e.jpg").write_bytes(b"")  # in place: the folder's date stays
    assert prepare_coco(root, out)[out / "test.parquet"] == 2
    assert (out / "val.parquet").stat().st_mtime_ns == dates[out / "val.parquet"]
    (root / "val2014" / "e.jpg").write_bytes(b"x")
    assert prepare_coco(root, out) == written
    split_file.write_text(split_file.read_text().replace("A cat.", "A dog."))
    prepare_coco(root, out)
    assert rows_of(out / "val.parquet")[0]["text"] == "A dog."
    moved = root.rename(tmp_path / "elsewhere")
    prepare_coco(moved, out)
    assert rows_of(out / "val.parquet")[0]["image"] == str(moved / "val2014" / "b.jpg")


@pytest.mark.parametrize("name", ["test.parquet", "test.skipped.jsonl"])
def test_nothing_of_anothers_is_overwritten(tmp_path: Path, name: str) -> None:
    root, out = corpus(tmp_path / "coco", "coco"), tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(UserError, match=rf"{name}: in the way, and not written here; choose another OUT"):
        prepare_coco(root, out)
    assert (out / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("split", "../../escaped", r"images\[0\]: split '../../escaped', expected one of train, restval, val, test"),
        ("filename", "../../a.jpg", r"images\[0\]: .*a.jpg is not inside .*coco"),
        ("filepath", "/etc", r"images\[0\]: /etc/a.jpg is not inside .*coco"),
    ],
)
def test_a_split_file_names_nothing_outside_root(tmp_path: Path, key: str, value: str, line: str) -> None:
    root = corpus(tmp_path / "coco", "coco")
    content = json.loads((root / "dataset_coco.json").read_text())
    content["images"][0][key] = value
    (root / "dataset_coco.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=line):
        prepare_coco(root, tmp_path / "deep" / "er" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["coco"]


def test_a_limit_keeps_the_first_rows(tmp_path: Path) -> None:
    prepare_coco(corpus(tmp_path / "coco", "coco"), tmp_path / "out", limit=3)
    assert [r["id"] for r in rows_of(tmp_path / "out" / "test.parquet")] == ["100", "101", "106"]


def test_mistakes(tmp_path: Path) -> None:
    def refused(message: str, **more: Any) -> None:
        with pytest.raises(UserError, match=message):
            prepare_coco(tmp_path, tmp_path / "out", **more)

    refused(r"dataset_coco\.json: no such file; put Karpathy's split file")
    path = tmp_path / "dataset_coco.json"
    for content in ("{", "[]", '{"images": {}}', '{"images": []}', '{"annotations": []}'):
        path.write_text(content)
        refused(r"dataset_coco\.json: .*is it Karpathy's file, complete")
    path.write_text('{"images": [{"filename": "a.jpg", "split": "test"}]}')
    refused(r"images\[0\] is not as in Karpathy's file \(no 'sentences'\)")
    corpus(tmp_path, "coco")
    refused("no split 'tset'; found: test, val, train, restval", splits=["tset"])
    for file, folder, _, _ in IMAGES:
        (tmp_path / folder / file).unlink()
    refused(r"none of the 2 images of test can be used, the first: .*val2014/a\.jpg \(no such file\); unpack")
    assert not (tmp_path / "out").exists()
