"""Karpathy's splits, on miniatures of the published files: COCO's layout and Flickr30k's."""

import json
from pathlib import Path
from typing import Any

import pytest

from xmodal.corpora.karpathy import prepare_coco, prepare_flickr30k
from xmodal.data.manifest import read_manifest
from xmodal.errors import UserError

# File, folder in COCO, split, captions.
IMAGES = [
    ("a.jpg", "val2014", "test", ["A dog runs.", "a dog\n  on grass "]),
    ("b.jpg", "val2014", "val", ["A cat."]),
    ("c.jpg", "train2014", "train", ["Two cars.", "cars"]),
    ("d.jpg", "val2014", "restval", ["A boat."]),
    ("e.jpg", "val2014", "test", ["A dog runs.", " ", "ein Hündchen"]),
]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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
        "test.jsonl": 4, "val.jsonl": 1, "train.jsonl": 2, "restval.jsonl": 1,
    }  # fmt: skip
    rows = rows_of(out / "test.jsonl")
    assert [(r["id"], r["image_id"], r["text"]) for r in rows] == [
        ("100", "a.jpg", "A dog runs."),
        ("101", "a.jpg", "a dog on grass"),
        ("106", "e.jpg", "A dog runs."),
        ("108", "e.jpg", "ein Hündchen"),
    ]
    assert {r["image"] for r in rows} == {str(root.resolve() / "val2014" / f) for f in ("a.jpg", "e.jpg")}
    assert read_manifest(out / "test.jsonl", ["image", "text"])[3]["text"] == "ein Hündchen"


def test_flickr30k_in_the_images_own_folder(tmp_path: Path) -> None:
    root = corpus(tmp_path, "flickr30k")
    written = prepare_flickr30k(root, root, splits=["test"])
    assert {p.name for p in written} == {"test.jsonl"}
    assert {r["image"] for r in rows_of(root / "test.jsonl")} == {"flickr30k-images/a.jpg", "flickr30k-images/e.jpg"}


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
    assert {p.name: n for p, n in written.items()} == {"test.jsonl": 2, "test.skipped.jsonl": 1}
    assert rows_of(out / "test.skipped.jsonl") == [
        {"item": str(root.resolve() / "val2014" / "e.jpg"), "reason": "no such file"}
    ]
    for split, reason in (("val", "an empty file"), ("train", "no such file"), ("restval", "no caption")):
        with pytest.raises(UserError, match=rf"none of the 1 images of {split} can be used, the first: .*\({reason}\)"):
            prepare_coco(root, out, splits=["test", split])
    (root / "val2014" / "e.jpg").write_bytes(b"x")
    prepare_coco(root, out)
    assert [p.name for p in out.iterdir()] == ["test.jsonl"]


def test_a_limit_keeps_the_first_rows(tmp_path: Path) -> None:
    prepare_coco(corpus(tmp_path / "coco", "coco"), tmp_path / "out", limit=3)
    assert [r["id"] for r in rows_of(tmp_path / "out" / "test.jsonl")] == ["100", "101", "106"]


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
