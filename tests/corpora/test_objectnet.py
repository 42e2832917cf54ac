import hashlib
import json
from pathlib import Path

import pytest
from pictures import rows_of, save, skipped_of
from PIL import Image, ImageDraw

from xmodal.corpora.images.objectnet import prepare
from xmodal.data.image import read_image
from xmodal.data.manifest import made_of
from xmodal.errors import UserError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "objectnet-1.0"
    for folder in ("alarm_clock", "air_freshener", "still_camera"):
        save(root / "images" / folder / "0a1b.png")
    names = {"alarm_clock": "Alarm clock", "air_freshener": "Air freshener", "still_camera": "Still Camera"}
    counterparts = {
        "Alarm clock": "analog clock; digital clock",
        "Still Camera": "Polaroid camera, Polaroid Land camera; reflex camera",
    }
    (root / "mappings").mkdir()
    (root / "mappings" / "folder_to_objectnet_label.json").write_text(json.dumps(names))
    (root / "mappings" / "objectnet_to_imagenet_1k.json").write_text(json.dumps(counterparts))
    return root


def test_only_classes_that_overlap_imagenet(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert prepare(corpus, out) == {out / "test.parquet": 2, out / "test.skipped.jsonl": 1}
    clock, camera = rows_of(out / "test.parquet")
    assert clock == {
        "id": "alarm_clock/0a1b.png",
        "image": str(corpus / "images" / "alarm_clock" / "0a1b.png") + "@inset2",
        "label": "alarm clock",
        "objectnet_label": "Alarm clock",
        "imagenet": ["analog clock", "digital clock"],
    }
    assert camera["imagenet"] == ["Polaroid camera, Polaroid Land camera", "reflex camera"]
    assert list(skipped_of(out / "test.parquet")) == ["air_freshener"]
    counterparts = (corpus / "mappings" / "objectnet_to_imagenet_1k.json").read_bytes()
    made = made_of(out / "test.parquet")
    assert made["classes_from"] == "objectnet_to_imagenet_1k.json"
    assert made["classes_sha256"] == hashlib.sha256(counterparts).hexdigest()
    assert prepare(corpus.parent, tmp_path / "from_above")[tmp_path / "from_above" / "test.parquet"] == 2


def test_no_red_line_reaches_a_model(corpus: Path, tmp_path: Path) -> None:
    picture = Image.new("RGB", (9, 7), (0, 0, 255))
    ImageDraw.Draw(picture).rectangle((0, 0, 8, 6), outline=(255, 0, 0))
    picture.save(corpus / "images" / "alarm_clock" / "0a1b.png")
    prepare(corpus, tmp_path / "out")
    clock, _ = rows_of(tmp_path / "out" / "test.parquet")
    found = read_image(clock["image"])
    assert found.size == (5, 3)
    assert found.getcolors() == [(15, (0, 0, 255))]


def test_wrong_roots(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected images, mappings/folder_to_objectnet_label.json, .*; found "):
        prepare(corpus / "images", tmp_path / "out")
    mapping = corpus / "mappings" / "objectnet_to_imagenet_1k.json"
    for content, reason in (("{", "not JSON"), ("[]", "expected an object of names, found list")):
        mapping.write_text(content)
        with pytest.raises(UserError, match=rf"objectnet_to_imagenet_1k.json: {reason}"):
            prepare(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()
