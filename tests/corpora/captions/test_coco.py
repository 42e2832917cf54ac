import hashlib
import json
from pathlib import Path

import pytest
from pictures import rows_of, save, skipped_of

from xmodal.config.data import ImageModality, TextModality
from xmodal.corpora.captions.coco import prepare
from xmodal.data.manifest import made_of, read_pairs
from xmodal.errors import UserError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "coco"
    for split, first in (("train", 100), ("val", 200)):
        images = [{"id": first + n, "file_name": f"{first + n:012d}.jpg"} for n in (3, 1, 2, 0, 4)]
        annotations = [  # not in order, one with a newline, one empty
            {"id": 5, "image_id": first + 3, "caption": "third, späte"},
            {"id": 2, "image_id": first + 3, "caption": " third, early\n"},
            {"id": 3, "image_id": first + 1, "caption": "first"},
            {"id": 4, "image_id": first, "caption": "  "},
            {"id": 6, "image_id": first + 2, "caption": "its image is gone"},
            {"id": 7, "image_id": first + 4, "caption": "its image is empty"},
        ]
        for n in (0, 1, 3):
            save(root / f"{split}2017" / f"{first + n:012d}.jpg")
        (root / f"{split}2017" / f"{first + 4:012d}.jpg").touch()
        (root / "annotations").mkdir(exist_ok=True)
        path = root / "annotations" / f"captions_{split}2017.json"
        path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations}))
    return root


def test_rows(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = prepare(corpus, out)
    assert written == {
        out / f"{split}{ending}": count
        for split in ("train", "val")
        for ending, count in ((".parquet", 2), (".skipped.jsonl", 3))
    }
    assert rows_of(out / "val.parquet") == [
        {
            "id": "203",
            "image": str(corpus / "val2017" / "000000000203.jpg"),
            "text": ["third, early", "third, späte"],
        },
        {"id": "201", "image": str(corpus / "val2017" / "000000000201.jpg"), "text": ["first"]},
    ]
    assert skipped_of(out / "val.parquet") == {
        "000000000200.jpg": "no caption",
        "000000000202.jpg": "missing",
        "000000000204.jpg": "an empty file",
    }
    _, items = read_pairs(out / "val.parquet", {"image": ImageModality(), "text": TextModality()})
    assert items["text"].count.tolist() == [2, 1]


def test_splits_and_limit(corpus: Path, tmp_path: Path) -> None:
    assert prepare(corpus, tmp_path / "a", limit=1, splits=["val"])[tmp_path / "a" / "val.parquet"] == 1
    assert not (tmp_path / "a" / "train.parquet").exists()
    for path in (corpus / "train2017").iterdir():
        path.unlink()
    (corpus / "train2017").rmdir()
    assert tmp_path / "b" / "train.parquet" not in prepare(corpus, tmp_path / "b")  # what is not there is not asked for
    with pytest.raises(UserError, match=r"coco: expected train2017; found annotations, val2017; ROOT is"):
        prepare(corpus, tmp_path / "c", splits=["train"])


def test_mistakes(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected annotations/captions_train2017.json, train2017, .*found 0000"):
        prepare(corpus / "val2017", tmp_path / "out")
    path = corpus / "annotations" / "captions_val2017.json"
    for content, reason in (
        ("{", "JSONDecodeError"),
        ('{"images": []}', "KeyError: 'annotations'"),
        ("[]", "TypeError"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=rf"captions_val2017.json: not COCO's captions \({reason}"):
            prepare(corpus, tmp_path / "out", splits=["val"])
    path.write_text('{"images": [], "annotations": []}')
    with pytest.raises(UserError, match=r"val.parquet: there would be no row in it"):
        prepare(corpus, tmp_path / "out", splits=["val"])
    assert not (tmp_path / "out").exists()


def test_what_changed_is_read_again(corpus: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "val.parquet"
    annotations = corpus / "annotations" / "captions_val2017.json"
    images = corpus / "val2017"
    content = json.loads(annotations.read_text())
    content["images"] = content["images"][:2]  # the two that can be used
    annotations.write_text(json.dumps(content))
    (images / "000000000200.jpg").unlink()
    (images / "000000000204.jpg").unlink()
    assert prepare(corpus, tmp_path, splits=["val"]) == {manifest: 2}
    date = manifest.stat().st_mtime_ns
    assert made_of(manifest)["captions_sha256"] == hashlib.sha256(annotations.read_bytes()).hexdigest()
    assert prepare(corpus, tmp_path, splits=["val"]) == {manifest: 2}
    assert manifest.stat().st_mtime_ns == date
    annotations.write_text(annotations.read_text().replace("first", "other"))
    prepare(corpus, tmp_path, splits=["val"])
    assert rows_of(manifest)[1]["text"] == ["other"]
    (images / "000000000201.jpg").unlink()
    assert prepare(corpus, tmp_path, splits=["val"])[manifest] == 1
