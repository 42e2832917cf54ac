"""Zero-shot classification out of webdataset's tars with classes, as CLIP_benchmark publishes its sets."""

import io
import tarfile

import numpy as np
import pytest
from colours import COLOURS, colour_encoder
from PIL import Image

from xmodal.data.image import read_image
from xmodal.errors import UserError
from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.test_sets.classes import in_order
from xmodal.evaluation.test_sets.labelled import read_labelled

NAMES = ["red", "green", "blue", "blue"]  # two classes of one name, as ImageNet has
SHOWN = [2, 0, 0, 1, 3, 1, 2]  # the classes of the samples


@pytest.fixture
def published(tmp_path):
    root = tmp_path / "wds_colours"
    (root / "test").mkdir(parents=True)
    for shard in range(2):
        with tarfile.open(root / "test" / f"{shard}.tar", "w") as tar:
            for at, number in list(enumerate(SHOWN))[shard::2]:
                picture = io.BytesIO()
                Image.new("RGB", (8, 6), COLOURS[NAMES[number]]).save(picture, "PNG")
                for ending, data in (("cls", str(number).encode()), ("png", picture.getvalue())):
                    member = tarfile.TarInfo(f"s{at:07d}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    (root / "test" / "nshards.txt").write_text("2")
    (root / "classnames.txt").write_text("\n".join(NAMES) + "\n")
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nthe {c}.\n")
    return root


def test_known_answers(published):
    spec = ZeroShot.Spec(
        test=published / "test",
        prompts=str(published / "zeroshot_classification_templates.txt"),
        names=published / "classnames.txt",
    )
    report = ZeroShot(spec).evaluate(colour_encoder(), "colours", brief=True)
    record = next(r for r in report.records if r.metric == "acc1")
    assert record.context["candidates"] == ["0", "1", "2", "3"]
    assert record.context["names"] == NAMES
    assert record.context["templates"] == ["a photo of a {c}.", "the {c}."]
    assert record.value == 6 / 7  # of the two blues the first one wins
    assert report.predictions.set_index("item").loc["1/s0000003", "true"] == "1"


def test_samples_are_those_that_clip_benchmark_reads(published):
    builder = pytest.importorskip("clip_benchmark.datasets.builder")
    theirs = builder.build_wds_dataset("colours", transform=np.asarray, split="test", data_dir=str(published))
    expected = [(image.tobytes(), label) for image, label in theirs]
    ours = read_labelled(published / "test", "image")
    found = [
        (np.asarray(read_image(place)).tobytes(), int(label))
        for place, label in zip(ours.sources, ours.labels, strict=True)
    ]
    assert found == expected
    assert theirs.classes == NAMES


def test_a_sample_without_its_class(published):
    with tarfile.open(published / "test" / "0.tar", "a") as tar:
        picture = io.BytesIO()
        Image.new("RGB", (8, 6)).save(picture, "PNG")
        for name, data in (("lost.png", picture.getvalue()), ("lost.txt", b"a caption alone")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(UserError, match="label is null in 1 rows"):
        read_labelled(published / "test", "image")


def test_class_numbers_are_ordered_by_size():
    assert in_order({"10", "9", "0"}) == ["0", "9", "10"]
    assert in_order({"10", "9", "cat"}) == ["10", "9", "cat"]
    assert in_order({"1", "01", "0"}) == ["0", "01", "1"]
