"""Several training views of an item: the first as ever, the others drawn by their own generators."""

import io
import tarfile

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from processors import RATE, Names, Pixels, Stored, Waves
from pydantic import ValidationError
from torch.utils.data import DataLoader

from xmodal.config.augment.audio import SpeechAugment
from xmodal.config.augment.image import ImageAugment
from xmodal.config.data import AudioModality, DataSpec, ImageModality, TextModality
from xmodal.data.dataset import PairDataset
from xmodal.data.sampler import BatchKey, BucketSampler
from xmodal.data.stream import StreamedPairs
from xmodal.data.views.log_mel import augment
from xmodal.errors import UserError
from xmodal.files import write_json_lines
from xmodal.store import content_id, view_id

NOISE = SpeechAugment(noise=0.5)
SHIFT = ImageAugment(pad=3)


class Frames(Waves):
    """Audio of 8 bins a frame, so that augmentation of log-mel features applies."""

    log_mel = True

    def features(self, item):
        return item[: len(item) // 8 * 8].reshape(-1, 8)

    def collate(self, features):
        return {"frames": torch.stack([torch.from_numpy(x) for x in features])}


@pytest.fixture
def manifest(tmp_path):
    """Twelve pairs; the audio of the fifth cannot be decoded; two or three captions each."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(12):
        wave = rng.standard_normal(800).astype(np.float32)
        wave[3] = np.nan if n == 5 else wave[3]
        soundfile.write(tmp_path / f"{n}.wav", wave, RATE, subtype="FLOAT")
        texts = [f"{n} {k}" for k in range(2 + n % 2)]
        rows.append({"id": f"p{n}", "speech": f"{n}.wav", "text": texts, "said": f"{n}"})
    write_json_lines(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def build(manifest, text=None, train=True, processors=None, **speech):
    modalities = {"speech": AudioModality(augment=NOISE, **speech), "text": text or TextModality()}
    processors = {"speech": Frames(), "text": Names()} | (processors or {})
    return PairDataset(DataSpec(train=manifest, max_bad=0.1), modalities, processors, 3, train)


def test_each_view_is_drawn_by_seed_epoch_row_side_and_view(manifest):
    batch = build(manifest, training_views=3)[BatchKey(2, np.array([4, 7]))]
    for row, number in enumerate((4, 7)):
        wave = soundfile.read(manifest.parent / f"{number}.wav", dtype="float32")[0].reshape(-1, 8)
        for view, key in enumerate([(3, 2, number, 0), (3, 2, number, 0, 1), (3, 2, number, 0, 2)]):
            expected = augment(wave, NOISE, np.random.default_rng(key))
            np.testing.assert_array_equal(batch.view("speech", view)["frames"][row].numpy(), expected)
    assert batch.views.keys() == {"speech"}
    assert len(batch.views["speech"]) == 2


def test_the_first_view_is_what_it_is_without_others(manifest):
    key = BatchKey(1, np.arange(12))
    plain = build(manifest)[key]
    several = build(manifest, TextModality(training_views=2), training_views=3)[key]
    torch.testing.assert_close(several.inputs, plain.inputs, rtol=0, atol=0)
    torch.testing.assert_close(several.item_ids, plain.item_ids, rtol=0, atol=0)
    assert plain.views == {}


def test_an_item_that_cannot_be_read_is_left_out_of_every_view_once(manifest):
    batch = build(manifest, training_views=2)[BatchKey(0, np.array([4, 5, 6]))]
    assert [name for name, _ in batch.skipped] == ["p5"]
    assert len(batch) == len(batch.view("speech", 0)["frames"]) == len(batch.view("speech", 1)["frames"]) == 2
    empty = build(manifest, training_views=2)[BatchKey(0, np.array([5]))]
    assert empty.view("speech", 1)["frames"].shape[::2] == (0, 8)


def test_each_view_of_a_text_is_another_of_the_texts_of_its_row(manifest):
    dataset = build(manifest, TextModality(training_views=3))
    seen = set()
    for epoch in range(8):
        batch = dataset[BatchKey(epoch, np.array([2, 3]))]
        for row, number in enumerate((2, 3)):
            views = [int(batch.view("text", view)["ids"][row, 0]) for view in range(3)]
            assert set(views) == {content_id(f"{number} {k}") for k in range(2 + number % 2)}
            assert views[0] == batch.item_ids["text"][row]
            seen.add(tuple(views))
    assert len(seen) > 4


def test_evaluation_sees_one_view(manifest):
    assert build(manifest, train=False, training_views=2)[BatchKey(0, np.array([1]))].views == {}


def stored(manifest, views):
    modalities = {
        "image": ImageModality(column="speech", augment=SHIFT, training_views=2),
        "text": TextModality(column="said"),
    }
    return PairDataset(DataSpec(train=manifest), modalities, {"image": Stored(views), "text": Names()}, 3)


def test_views_of_a_store_are_drawn_from_those_it_holds(manifest):
    dataset = stored(manifest, 4)
    pairs = set()
    for epoch in range(20):
        found = dataset[BatchKey(epoch, np.array([3]))]
        views = [int(found.view("image", view)["rows"][0, 0]) for view in range(2)]
        numbers = [[view_id(content_id("3.wav"), view, 4) for view in range(4)].index(name) for name in views]
        assert numbers[0] == np.random.default_rng((3, epoch, 3, 0)).integers(4)
        assert numbers[0] != numbers[1]
        pairs.add(tuple(numbers))
    assert len(pairs) > 6


def test_views_that_could_not_differ_are_refused(manifest):
    for spec in (AudioModality, ImageModality):
        with pytest.raises(ValidationError, match="training_views 2: all would be the same; set augment"):
            spec(training_views=2)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        TextModality(training_views=0)
    with pytest.raises(UserError, match=r"data\.modalities\.text\.training_views: 2 views would not all differ; texts"):
        build(manifest, TextModality(column="said", training_views=2))
    with pytest.raises(UserError, match=r"the store of towers\.image holds 1 of each item"):
        stored(manifest, 1)


def test_views_depend_neither_on_processes_nor_on_workers_nor_on_where_training_began(manifest):
    dataset = build(manifest, TextModality(training_views=2), training_views=2)

    def batches(step, rank=0, world=1, workers=0):
        sampler = BucketSampler(dataset.lengths, 4, 3, 2, rank, world)
        loader = DataLoader(dataset, sampler=sampler.iterate_from(step), batch_size=None, num_workers=workers)
        return [batch for batch, _ in zip(loader, range(5 - step), strict=False)]

    whole = batches(0)
    for one, other in zip(whole[3:], batches(3, workers=2), strict=True):
        assert one.names == other.names
        torch.testing.assert_close([one.inputs, one.views], [other.inputs, other.views], rtol=0, atol=0)
    for batch, *parts in zip(whole, batches(0, 0, 2), batches(0, 1, 2), strict=True):
        assert batch.names == parts[0].names + parts[1].names
        for side, name in (("speech", "frames"), ("text", "ids")):
            for view in range(2):
                together = torch.cat([part.view(side, view)[name] for part in parts])
                torch.testing.assert_close(batch.view(side, view)[name], together, rtol=0, atol=0)


@pytest.fixture
def tars(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for n in range(12):
            picture = io.BytesIO()
            Image.fromarray(np.random.default_rng(n).integers(0, 256, (4, 4, 3), np.uint8)).save(picture, "PNG")
            for name, data in ((f"{n}.png", picture.getvalue()), (f"{n}.txt", f"number {n}".encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return tmp_path


def test_a_stream_gives_the_views_too(tars):
    modalities = {"image": ImageModality(augment=SHIFT, training_views=2), "text": TextModality()}

    def batches(start=0, rank=0, world=1, workers=0):
        data = DataSpec(train=tars, streaming=True, shuffle_buffer=8)
        pairs = StreamedPairs(data, modalities, {"image": Pixels(), "text": Names()}, 0, 4, rank, world)
        loader = DataLoader(pairs.iterate_from(start), batch_size=None, num_workers=workers)
        return [batch for batch, _ in zip(loader, range(6 - start), strict=False)]

    whole = batches()
    first, second = (torch.cat([batch.view("image", view)["pixels"] for batch in whole]) for view in range(2))
    assert (first != second).flatten(1).any(1).float().mean() > 0.8
    for one, other in zip(whole[4:], batches(4, workers=1), strict=True):
        torch.testing.assert_close([one.inputs, one.views], [other.inputs, other.views], rtol=0, atol=0)
    for batch, *parts in zip(whole, batches(0, 0, 2), batches(0, 1, 2), strict=True):
        together = torch.cat([part.view("image", 1)["pixels"] for part in parts])
        torch.testing.assert_close(batch.view("image", 1)["pixels"], together, rtol=0, atol=0)
    modalities["text"] = TextModality(training_views=2)
    with pytest.raises(UserError, match=r"data\.modalities\.text\.training_views: 2 views would not all differ"):
        batches()
    modalities["text"] = TextModality(templates="cifar", column="text", training_views=2)
    assert len(batches(5)[0].views["text"]) == 1
