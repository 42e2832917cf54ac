"""Nothing is left out or cut short without a count."""

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
from PIL import Image
from processors import RATE, Names, Pixels, Stored, Waves

from xmodal.config.data import AudioModality, DataSpec, ImageModality, TextModality
from xmodal.data import reading
from xmodal.data.dataset import PairDataset
from xmodal.data.sampler import BatchKey
from xmodal.data.stream import StreamedPairs
from xmodal.data.tally import Tally
from xmodal.files import write_json_lines


class Short(Names):
    """Reads ten characters of a text."""

    def cut(self, item):
        return f"text of {len(item)} characters cut to 10" if len(item) > 10 else None


class Window(Waves):
    """Hears half a second."""

    def cut(self, item):
        return f"audio of {len(item) / RATE:.1f} s cut to 0.5 s" if len(item) > RATE / 2 else None


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def png():
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    return picture.getvalue()


def test_counts_by_reason_with_examples():
    tally = Tally("m.jsonl", used=90)
    for n in range(7):
        tally.leave_out(f"p{n}", f"/data/{n}.wav: 0.0{n} s, expected 0.05 to 30 s")
    tally.leave_out("x", "/data/x.wav: no such file")
    tally.cut_short("a long text", "text of 1,204 tokens cut to 77")
    tally.cut_short("another", "text of 99 tokens cut to 77")
    tally.notes.append("counted over half of them")
    assert (
        tally.lines()
        == str(tally).split("\n")
        == [
            "m.jsonl: 98 items, 90 used, 8 left out, 2 cut short",
            "  left out, 7: "
            + ", ".join(f"p{n} (/data/{n}.wav: 0.0{n} s, expected 0.05 to 30 s)" for n in range(3))
            + ", ...",
            "  left out, 1: x (/data/x.wav: no such file)",
            "  cut short, 2: a long text (text of 1,204 tokens cut to 77), another (text of 99 tokens cut to 77)",
            "  counted over half of them",
        ]
    )
    found = json.loads(json.dumps(tally.as_dict()))
    assert (found["seen"], found["used"]) == (98, 90)
    assert [(one["reason"], one["count"]) for one in found["left_out"]] == [
        ("N s, expected N to N s", 7),
        ("no such file", 1),
    ]
    assert len(found["left_out"][0]["examples"]) == 3
    tally.lose([("p50", "/data/50.wav: no such file")])
    assert (tally.seen, tally.used) == (98, 89)


@pytest.fixture
def manifest(tmp_path):
    seconds = [0.2, 0.01, 0.7, 0.9, 0.3]
    texts = ["short", "short", "a longer text", "x" * 20, "a longer text"]
    rows = []
    for n, (long, text) in enumerate(zip(seconds, texts, strict=True)):
        soundfile.write(tmp_path / f"{n}.wav", np.zeros(int(long * RATE)), RATE)
        rows.append({"id": f"p{n}", "speech": f"{n}.wav", "text": text, "label": "ab"[n % 2]})
    write_json_lines(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def build(manifest, text, **spec):
    modalities = {"speech": AudioModality(), "text": TextModality()}
    return PairDataset(DataSpec(train=manifest, max_bad=0.5, **spec), modalities, {"speech": Window(), "text": text}, 0)


def test_a_data_set_counts_what_it_leaves_out_and_its_towers_cut(manifest):
    tally = build(manifest, Short(), leave_out_labels=("b",)).tally
    assert (tally.seen, tally.used) == (5, 3)
    assert {reason: found.count for reason, found in tally.left_out.items()} == {
        "the label 'b' is in data.leave_out_labels": 1,
        "N s, expected N to N s": 1,
    }
    assert {reason: found.count for reason, found in tally.cut.items()} == {
        "audio of N s cut to N s": 2,
        "text of N characters cut to N": 3,
    }
    assert ("3.wav", "audio of 0.9 s cut to 0.5 s") in tally.cut["audio of N s cut to N s"].examples
    assert build(manifest, Stored()).tally.cut.keys() == {"audio of N s cut to N s"}  # the store's maker cut texts


def test_many_texts_are_counted_over_a_sample_that_is_stated(manifest, monkeypatch):
    monkeypatch.setattr(reading, "COUNTED", 2)
    tally = build(manifest, Short()).tally
    assert tally.cut["text of N characters cut to N"].count == 1  # of p0, p3
    assert tally.notes == ["cut texts: counted over 2 of 5, evenly spread"]


def test_members_of_tars_with_more_dots_are_told(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("IMG_2.0.png", png()), ("IMG_2.0.txt", b"two"), ("1.png", png()), ("1.txt", b"one")):
            add(tar, name, data)
        add(tar, "1.seg.png", png())  # more of sample 1, which is whole
        add(tar, "notes.md", b"no sample")
    modalities = {"image": ImageModality(), "text": TextModality()}
    processors = {"image": Pixels(), "text": Names()}
    tally = PairDataset(DataSpec(train=tmp_path), modalities, processors, 0).tally
    reason = "no image; a key ends at the first dot of its name, as webdataset has it: rename IMG_2.0.png, IMG_2.0.txt"
    assert [found.examples for found in tally.left_out.values()] == [[("a/IMG_2", reason)]]
    assert (tally.seen, tally.used) == (2, 1)
    data = DataSpec(train=tmp_path, streaming=True, shuffle_buffer=8)
    pairs = StreamedPairs(data, modalities, {"image": Pixels(), "text": Short()}, 0, 1)
    batches = iter(pairs)
    for name, reason_given in dict(found for _ in range(2) for found in next(batches).skipped).items():
        pairs.tally.leave_out(name, reason_given)
    assert [found.examples[0] for found in pairs.tally.left_out.values()] == [("a/IMG_2", f"left out: {reason}")]
    assert pairs.tally.notes == ["streamed: what is cut short is counted over the first 1 rows alone"]


def test_class_folders_count_what_is_neither_image_nor_audio(tmp_path):
    for name in ("cat/0.png", "cat/1.heic", "cat/.hidden", "dog/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    dataset = PairDataset(
        DataSpec(train=tmp_path), {"image": ImageModality(), "text": TextModality(column="label")},
        {"image": Pixels(), "text": Names()}, 0,
    )  # fmt: skip
    assert dataset.tally.lines()[1:] == ["  left out, 1: cat/1.heic (neither image nor audio by its ending)"]
    assert len(dataset[BatchKey(0, np.arange(2))]) == 2
