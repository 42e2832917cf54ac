import itertools
import re

import numpy as np
import pytest
import soundfile
import torch
from speech_pairs import RATE, Frames, Ids, Letters, build, cached, key, make, same, speech

from xmodal.config.augment.audio import SpeechAugment
from xmodal.config.data import AudioModality, TextModality
from xmodal.data.sampler import BucketSampler
from xmodal.errors import UserError
from xmodal.files import write_json_lines
from xmodal.store import StoreWriter, content_id
from xmodal.towers import build_tower
from xmodal.towers.kinds.store import StoreProcessor
from xmodal.towers.own.speech_encoder import LogMel, SpeechEncoderTower


def test_a_batch_holds_the_rows_asked_for_in_that_order(tmp_path):
    dataset = build(make(tmp_path))
    batch = dataset[key(5, 2, 11)]
    assert len(dataset) == 24
    assert len(batch) == 3
    assert batch.names == ("p5", "p2", "p11")
    assert batch.ids.dtype == torch.int64
    assert batch.ids.tolist() == [content_id(name) for name in batch.names]
    assert batch.labels.tolist() == [2, 2, 2]
    assert dataset.label_names == ["a", "b", "c"]
    assert batch.skipped == dataset.skipped == []
    letters, lengths = batch.inputs["text"].values()
    for row, (text, name) in enumerate(zip(["sentence 5", "sentence 2!!", "sentence 4!"], [5, 2, 11], strict=True)):
        assert bytes(letters[row, : lengths[row]].tolist()).decode() == text
        wave = soundfile.read(tmp_path / f"{name}.wav", dtype="float32")[0]
        frames = Frames().features(wave)
        speech = batch.inputs["speech"]
        assert speech["lengths"][row] == len(frames)
        np.testing.assert_array_equal(speech["values"][row, : len(frames)].numpy(), frames)
        assert not speech["values"][row, len(frames) :].any()


def test_lengths_are_seconds_or_else_characters(tmp_path):
    path = make(tmp_path)
    seconds = [soundfile.info(tmp_path / f"{n}.wav").duration for n in range(24)]
    np.testing.assert_allclose(build(path).lengths, seconds)
    texts = {"text": TextModality()}, {"text": Letters()}
    np.testing.assert_allclose(build(path, *texts).lengths, [10 + n % 5 for n in range(24)])


def test_equal_content_has_equal_item_ids_unless_the_manifest_names_them(tmp_path):
    batch = build(make(tmp_path))[key(0, 7, 14, 21, 35 - 28)]
    assert batch.item_ids["text"].tolist() == [
        content_id(t) for t in ("sentence 0", "sentence 0!!", "sentence 0!!!!", "sentence 0!", "sentence 0!!")
    ]
    assert batch.item_ids["speech"].tolist() == [content_id(f"{n}.wav") for n in (0, 7, 14, 21, 7)]
    named = build(make(tmp_path, speech_id=[f"s{n // 2}" for n in range(24)]))[key(2, 3, 4)]
    assert named.item_ids["speech"].tolist() == [content_id(s) for s in ("s1", "s1", "s2")]


def test_columns_and_labels_may_be_elsewhere_null_or_absent(tmp_path):
    path = make(tmp_path, label=["x" if n % 2 else None for n in range(24)], said=[f"s{n}" for n in range(24)])
    dataset = build(path, {"text": TextModality(column="said"), "speech": AudioModality()})
    assert dataset[key(1, 2)].labels.tolist() == [0, -1]
    assert bytes(dataset[key(1)].inputs["text"]["values"][0].tolist()) == b"s1"
    write_json_lines(path, [{"id": "a", "text": "x", "speech": "1.wav"}])
    dataset = build(path)
    assert dataset[key(0)].labels.tolist() == [-1]
    assert dataset.label_names == []


def test_a_store_gets_the_item_id_and_no_file_is_opened(tmp_path):
    path = make(tmp_path)
    for n in range(24):
        (tmp_path / f"{n}.wav").unlink()
    batch = build(path, processors={"text": Letters(), "speech": Ids()})[key(3, 4)]
    assert batch.inputs["speech"]["ids"].tolist() == batch.item_ids["speech"].tolist()


BROKEN = {2: "junk", 5: "missing", 9: "short"}


def test_bad_files_are_left_out_counted_and_listed(tmp_path):
    dataset = build(make(tmp_path, broken=BROKEN), max_bad=0.2)
    names, reasons = zip(*dataset.skipped, strict=True)
    assert names == ("p2", "p5", "p9")
    assert all(re.search(p, r) for p, r in zip(["cannot be decoded", "no such file", "0.01 s"], reasons, strict=True))
    assert len(dataset) == len(dataset.names) == len(dataset.lengths) == 21
    assert dataset.names[:4] == ["p0", "p1", "p3", "p4"]
    batch = dataset[key(2, 3)]
    assert batch.names == ("p3", "p4")
    assert batch.item_ids["speech"].tolist() == [content_id("3.wav"), content_id("4.wav")]
    assert batch.labels.tolist() == [0, 1]


def test_more_bad_files_than_the_limit(tmp_path):
    path = make(tmp_path, broken={**BROKEN, 10: "junk"})
    with pytest.raises(UserError) as error:
        build(path, max_bad=0.1)
    message = str(error.value)
    assert message.startswith(f"{path}: 4 of 24 items (16.7%) cannot be used, the limit is 10.0%; first: p2 (")
    assert str(tmp_path / "2.wav") in message
    assert [name in message for name in ("p5", "p9", "p10")] == [True, True, False]
    assert "raise data.max_bad" in message
    assert "\n" not in message
    assert len(build(path, max_bad=4 / 24)) == 20
    with pytest.raises(UserError, match=r"24 of 24 items \(100.0%\) cannot be used"):
        build(make(tmp_path, broken=dict.fromkeys(range(24), "junk")), max_bad=1.0)


def test_too_long_and_empty_items(tmp_path):
    path = make(tmp_path, text=[" " if n == 3 else "fine" for n in range(24)])
    dataset = build(path, speech(max_seconds=0.3), max_bad=1.0)
    reasons = dict(dataset.skipped)
    assert reasons.pop("p3") == "text: empty text"
    assert len(reasons) > 3
    assert all("expected 0.05 to 0.3 s" in reason for reason in reasons.values())
    assert dataset.lengths.max() <= 0.3


def test_what_fails_when_decoded_is_left_out_of_its_batch(tmp_path):
    dataset = build(make(tmp_path, broken={4: "nan"}), max_bad=0.1)
    batch = dataset[key(3, 4, 5)]
    assert batch.names == ("p3", "p5")
    assert len(batch.inputs["speech"]["values"]) == len(batch.inputs["text"]["values"]) == len(batch.labels) == 2
    same(batch, dataset[key(3, 5)])
    [(name, reason)] = batch.skipped
    assert name == "p4"
    assert "NaN" in reason
    dataset.require_usable(batch.skipped * 2)
    with pytest.raises(UserError, match=r"3 of 24 items \(12.5%\) .* limit is 10.0%; first: p4 \(.*NaN"):
        dataset.require_usable(batch.skipped * 3)


def test_a_batch_of_bad_items_is_empty_with_the_right_shapes(tmp_path):
    dataset = build(make(tmp_path, broken={4: "nan", 6: "nan"}))
    whole, empty = dataset[key(3, 5)], dataset[key(4, 6)]
    assert len(empty) == len(empty.ids) == len(empty.labels) == 0
    assert empty.names == ()
    assert [name for name, _ in empty.skipped] == ["p4", "p6"]
    for modality, inputs in whole.inputs.items():
        for name, tensor in inputs.items():
            other = empty.inputs[modality][name]
            assert other.dtype == tensor.dtype
            assert len(other) == 0
            assert other.shape[2:] == tensor.shape[2:]
        assert empty.item_ids[modality].dtype == torch.int64


def test_features_are_computed_once_while_the_cache_has_room(tmp_path):
    path = make(tmp_path)
    for megabytes, calls in [(10, 24), (0, 48)]:
        frames = Frames()
        dataset = build(path, processors={"text": Letters(), "speech": frames}, cache_mb=megabytes)
        first, second = dataset[key(*range(24))], dataset[key(*range(24))]
        same(first, second)
        assert frames.calls == calls


def test_the_cache_keeps_to_its_size(tmp_path):
    class Large(Frames):
        def features(self, item):
            self.calls += 1
            return np.zeros((2**17, 1), np.float32)  # half a MiB

    large = Large()
    dataset = build(make(tmp_path), processors={"text": Letters(), "speech": large}, cache_mb=2)
    for _ in range(2):
        for n in range(12):
            dataset[key(n)]
    assert large.calls == 12 + 9  # 3 fit beside the texts
    assert sum(f.nbytes for f in cached(dataset).values()) < 2 * 2**20


AUGMENT = SpeechAugment(frequency_masks=2, frequency_width=3, time_masks=1, noise=0.2, speed=0.2)


def test_processors_must_fit(tmp_path):
    path = make(tmp_path)
    with pytest.raises(UserError, match=r"towers\.speech: this tower takes text, but the modality 'speech' is audio"):
        build(path, processors={"text": Letters(), "speech": Letters()})
    for processor in (Ids(), type("Raw", (Frames,), {"log_mel": False})()):
        with pytest.raises(UserError, match=r"data\.modalities\.speech\.augment: works on log-mel features"):
            build(path, speech(AUGMENT), {"text": Letters(), "speech": processor})


def test_a_missing_manifest_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"make it with: python data_prep/x\.py"):
        build(tmp_path / "none.jsonl", made_by="python data_prep/x.py")


@torch.no_grad()
def test_an_embedding_does_not_depend_on_its_batch(tmp_path):
    torch.manual_seed(0)
    spec = SpeechEncoderTower.Spec(sample_rate=RATE, high=3_800, mels=40, width=32, layers=1, feed_forward=64)
    tower, processor = build_tower(spec, out_dim=16)
    tower.eval()
    dataset = build(make(tmp_path), processors={"text": Letters(), "speech": processor})
    assert dataset.lengths.max() > 2 * dataset.lengths.min()
    alone = torch.cat([tower(dataset[key(n)].inputs["speech"]).z for n in range(24)])
    for batch_size, buckets in [(24, 0), (5, 2)]:
        for k in itertools.islice(BucketSampler(dataset.lengths, batch_size, 0, buckets).iterate_from(0), 4):
            z = tower(dataset[k].inputs["speech"]).z
            torch.testing.assert_close(z, alone[torch.from_numpy(k.indices)], atol=2e-6, rtol=0)


def test_rows_of_a_real_store_and_an_empty_batch_of_real_processors(tmp_path):
    path = make(tmp_path, broken={4: "nan"})
    ids = np.unique([content_id(f"sentence {n % 7}" + "!" * (n % 5)) for n in range(24)])
    rows = np.random.default_rng(1).standard_normal((len(ids), 6)).astype(np.float32)
    about = dict.fromkeys(["model", "revision", "weights", "preprocessing", "data"], "x")
    with StoreWriter(tmp_path / "store", ids, 6, about, "plan") as writer:
        writer.write(0, np.arange(len(ids)), rows)
    store = writer.finish({})
    processors = {"text": StoreProcessor(store), "speech": LogMel(sample_rate=RATE, high=3_800)}
    dataset = build(path, speech(AUGMENT), processors)
    batch = dataset[key(0, 7, 14)]
    row_of = dict(zip(ids.tolist(), rows, strict=True))
    for item, row in zip(batch.item_ids["text"].tolist(), batch.inputs["text"]["rows"], strict=True):
        np.testing.assert_array_equal(row.numpy(), row_of[item])
    empty = dataset[key(4)]
    assert empty.inputs["text"]["rows"].shape == (0, 6)
    assert empty.inputs["speech"]["features"].shape[::2] == (0, 64)


def test_real_digits(xmodal_data, tmp_path):
    files = sorted((xmodal_data / "fsdd" / "recordings").glob("*.wav"))[::100]
    write_json_lines(
        tmp_path / "m.jsonl",
        [{"id": f.stem, "text": f.stem.split("_")[0], "speech": str(f), "label": f.stem[0]} for f in files],
    )
    dataset = build(tmp_path / "m.jsonl")
    assert dataset.skipped == []
    batch = dataset[key(*range(len(files)))]
    assert len(batch) == len(files) == 30
    assert dataset.label_names == sorted({f.stem[0] for f in files})
    seconds = batch.inputs["speech"]["lengths"] * 0.01
    torch.testing.assert_close(seconds, torch.tensor(dataset.lengths, dtype=torch.float32), atol=0.011, rtol=0)
