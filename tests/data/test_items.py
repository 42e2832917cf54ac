"""Several items in a row (captions, templates), images as bytes, and the sources besides JSONL."""

import io
import json

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from xmodal.config.augment.image import ImageAugment
from xmodal.config.data import DataSpec, ImageModality, TextModality
from xmodal.data.dataset import PairDataset
from xmodal.data.items import different
from xmodal.data.manifest import read_manifest, read_pairs
from xmodal.data.sampler import BatchKey
from xmodal.errors import UserError
from xmodal.files import write_json_lines
from xmodal.processor import Processor
from xmodal.store import content_id


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


class Pixels(Processor):
    kind, sample_rate, log_mel = "image", None, False
    size, interpolation = (8, 8), "bilinear"

    def features(self, item):
        return np.ascontiguousarray(np.asarray(item).transpose(2, 0, 1))

    def collate(self, features):
        return {"pixels": pa_tensor(features)}


def pa_tensor(features):
    import torch

    return torch.from_numpy(np.stack(features)).float()


class Letters(Processor):
    kind, sample_rate, log_mel = "text", None, False

    def features(self, item):
        return np.array([content_id(item)])

    def collate(self, features):
        return {"ids": pa_tensor(features)}


def dataset(path, text=None, image=None, **spec):
    modalities = {"text": text or TextModality(), "image": image or ImageModality()}
    return PairDataset(DataSpec(train=path, **spec), modalities, {"text": Letters(), "image": Pixels()}, seed=0)


def test_one_of_several_captions_in_every_epoch(tmp_path):
    captions = [["a dog", "one dog", "the dog"], ["a cat"]]
    for n, colour in enumerate(("red", "blue")):
        (tmp_path / f"{n}.png").write_bytes(png(colour))
    write_json_lines(tmp_path / "m.jsonl", [{"id": n, "image": f"{n}.png", "text": captions[n]} for n in range(2)])
    data = dataset(tmp_path / "m.jsonl")
    drawn = [data[BatchKey(epoch, np.array([0, 1]))].item_ids["text"].tolist() for epoch in range(60)]
    assert {ids[1] for ids in drawn} == {content_id("a cat")}
    counts = [sum(ids[0] == content_id(text) for ids in drawn) for text in captions[0]]
    assert sum(counts) == 60
    assert min(counts) >= 8
    again = data[BatchKey(7, np.array([0, 1]))]
    assert again.item_ids["text"].tolist() == drawn[7]
    np.testing.assert_array_equal(again.inputs["image"]["pixels"][0, :, 0, 0], [255, 0, 0])


def test_templates_over_labels(tmp_path):
    rows = [{"id": n, "image": "x.png", "label": label} for n, label in enumerate(["fire_truck", "owl", "fire_truck"])]
    write_json_lines(tmp_path / "m.jsonl", rows)
    (tmp_path / "t.yaml").write_text("- 'a {c}'\n- 'the {c}'\n")
    (tmp_path / "names.json").write_text(json.dumps({"owl": "tawny owl"}))
    spec = TextModality(templates=str(tmp_path / "t.yaml"), names=tmp_path / "names.json")
    _, items = read_pairs(tmp_path / "m.jsonl", {"text": spec})
    found = [[items["text"].value(at) for at in range(*items["text"].of(row).indices(99))] for row in range(3)]
    truck, owl = ["a fire truck", "the fire truck"], ["a tawny owl", "the tawny owl"]
    assert found == [truck, owl, truck]


def test_images_as_bytes_in_parquet_without_ids(tmp_path):
    images = [{"bytes": png(colour), "path": None} for colour in ("red", "lime", "red")]
    pq.write_table(pa.table({"image": images, "label": ["a", "b", "a"]}), tmp_path / "m.parquet")
    (tmp_path / "t.yaml").write_text("- 'a {c}'\n")
    data = dataset(tmp_path / "m.parquet", TextModality(templates=str(tmp_path / "t.yaml")))
    batch = data[BatchKey(0, np.arange(3))]
    assert batch.names == ("0", "1", "2")
    assert batch.item_ids["image"][0] == batch.item_ids["image"][2] != batch.item_ids["image"][1]
    assert batch.inputs["image"]["pixels"][:, 1, 0, 0].tolist() == [0, 255, 0]


def test_augmented_images_change_by_epoch_and_bad_ones_are_left_out(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for n in range(6):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{n}.png")
        rows.append({"id": f"p{n}", "image": f"{n}.png", "text": f"t{n}"})
    (tmp_path / "3.png").write_bytes(b"")
    write_json_lines(tmp_path / "m.jsonl", rows)
    data = dataset(tmp_path / "m.jsonl", image=ImageModality(augment=ImageAugment(pad=2, flip=0.5)), max_bad=0.5)
    first, second = (data[BatchKey(epoch, np.arange(6))] for epoch in (0, 1))
    assert first.names == ("p0", "p1", "p2", "p4", "p5")
    assert first.skipped[0][0] == "p3"
    assert "3.png: an empty file" in first.skipped[0][1]
    assert not (first.inputs["image"]["pixels"] == second.inputs["image"]["pixels"]).all()
    same = data[BatchKey(0, np.array([4]))].inputs["image"]["pixels"]
    assert (same[0] == first.inputs["image"]["pixels"][3]).all()


@pytest.mark.parametrize(
    ("columns", "modality", "message"),
    [
        ({"text": [["a"], []]}, "text", "is an empty list in 1 rows"),
        ({"text": [["a"], [None]]}, "text", "1 captions are null"),
        ({"image": [["a.png"], ["b.png"]]}, "image", "holds lists; only texts may"),
        ({"image": [{"x": 1}, {"x": 2}]}, "image", "is a struct of x, expected bytes and path"),
        ({"text": [b"a", b"b"]}, "text", "holds bytes, expected strings: text is text"),
    ],
)
def test_values_that_are_not_what_the_modality_is(tmp_path, columns, modality, message):
    pq.write_table(pa.table({"id": ["1", "2"], **columns}), tmp_path / "m.parquet")
    spec = {"text": TextModality(), "image": ImageModality()}[modality]
    with pytest.raises(UserError, match=message):
        read_pairs(tmp_path / "m.parquet", {modality: spec})


def test_csv_class_folders_and_parquet_folders(tmp_path):
    (tmp_path / "m.csv").write_text('id,image,text\n007,"a,b.png",two\n8,c.png,"x\ny"\n')
    assert list(read_manifest(tmp_path / "m.csv", ["image", "text"])) == [
        {"id": "007", "image": "a,b.png", "text": "two"},
        {"id": "8", "image": "c.png", "text": "x\ny"},
    ]
    for name in ("cat/1.png", "dog/2.jpg", "dog/deep/3.png"):
        (tmp_path / "folders" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folders" / name).write_bytes(b"x")
    found = read_manifest(tmp_path / "folders", ["image"])
    assert found["label"][:] == ["cat", "dog", "dog"]
    assert found["image"][:] == ["cat/1.png", "dog/2.jpg", "dog/deep/3.png"]
    (tmp_path / "folders" / "empty").mkdir()
    with pytest.raises(UserError, match=r"1 class folders hold no image or audio \(empty\)"):
        read_manifest(tmp_path / "folders", ["image"])
    (tmp_path / "parts").mkdir()
    for part in range(2):
        pd.DataFrame({"text": [f"{part}a", f"{part}b"]}).to_parquet(tmp_path / "parts" / f"{part}.parquet")
    assert read_manifest(tmp_path / "parts", ["text"])["text"][:] == ["0a", "0b", "1a", "1b"]
    assert read_manifest(f"hub:{tmp_path / 'parts'}", ["text"])["id"][:] == ["0", "1", "2", "3"]
    with pytest.raises(UserError, match="hub:"):
        read_manifest(f"hub:{tmp_path / 'nothing'}", ["text"])


def test_names_of_class_numbers_in_one_parquet_file(tmp_path):
    features = datasets.Features(
        {
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "labels": datasets.List(datasets.ClassLabel(names=["a", "b", "c"])),
            "text": datasets.Value("string"),
        }
    )
    rows = {"label": [1, 0, -1], "labels": [[2, 0], [], [1]], "text": ["x", "y", "z"]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "one.parquet")
    (tmp_path / "folder[1]").mkdir()
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "folder[1]" / "one.parquet")
    for path in (tmp_path / "one.parquet", tmp_path / "folder[1]"):
        manifest = read_manifest(path, ["text"])
        assert manifest["label"][:] == ["dog", "cat", None]
        assert manifest["labels"][:] == [["c", "a"], [], ["b"]]


def test_splits_are_no_classes_and_other_files_are_counted(tmp_path, caplog):
    for split in ("train", "val"):
        (tmp_path / "sets" / split / "cat").mkdir(parents=True)
        (tmp_path / "sets" / split / "cat" / "0.png").write_bytes(png("red"))
    with pytest.raises(UserError, match=r"sets: holds train, val, which are splits; name one of them"):
        read_manifest(tmp_path / "sets")
    (tmp_path / "sets" / "train" / "cat" / "1.ppm").write_bytes(b"P6 1 1 255 abc")
    (tmp_path / "sets" / "train" / "dog").mkdir()
    (tmp_path / "sets" / "train" / "dog" / "1.jfif").write_bytes(png("blue"))
    assert read_manifest(tmp_path / "sets" / "train")["id"][:] == ["cat/0.png", "dog/1.jfif"]
    assert "1 files are left out: neither image nor audio by their endings" in caplog.text


def test_different_items_of_pairs():
    ids = np.array([7, 8, 7, 9, 9, 5])
    first, count = np.array([0, 1, 2, 3, 4, 0]), np.array([1, 1, 1, 1, 2, 2])
    found, group = different(ids, first, count)
    for pair, number in enumerate(group):
        at, many = found[number]
        assert ids[at : at + many].tolist() == ids[first[pair] : first[pair] + count[pair]].tolist()
    assert len(found) == 5
    assert group[0] == group[2]
