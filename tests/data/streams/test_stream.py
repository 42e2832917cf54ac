"""Streamed pairs: the same items as reading them whole, exact on resume, the same for every number of processes."""

import itertools

import datasets
import pandas as pd
import pytest
import torch
from streamed_pairs import MODALITIES, Ids, Pixels, png, same, stream, take
from torch.utils.data import DataLoader

from xmodal.config.data import DataSpec, ImageModality, TextModality
from xmodal.data.stream import StreamedPairs
from xmodal.errors import UserError
from xmodal.store import content_id


def test_an_epoch_holds_every_sample_once_with_its_own_caption(tars):
    batches = take(stream(tars), 5)
    names = [name for batch in batches for name in batch.names]
    skipped = [entry for batch in batches for entry in batch.skipped]
    assert len(names) == 19
    assert [name for name, _ in skipped] == ["00001/000000013"]
    assert sorted([*names, "00001/000000013"]) == [f"{n // 10:05}/{n:09}" for n in range(20)]
    assert names != sorted(names)
    for batch in batches:
        for name, pixels, text in zip(
            batch.names, batch.inputs["image"]["pixels"], batch.item_ids["text"], strict=True
        ):
            number = int(name.partition("/")[2])
            assert pixels[0].max() == 10 * number
            assert text == content_id(f"number {number}")


def test_epochs_differ_and_resuming_is_exact(tars):
    whole = take(stream(tars), 12)
    assert [b.names for b in whole[:5]] != [b.names for b in whole[5:10]]
    for a, b in zip(whole[7:], take(stream(tars).iterate_from(7), 5), strict=True):
        same(a, b)


def test_processes_share_each_batch(tars):
    whole = take(stream(tars, 6), 4)
    parts = [take(stream(tars, 6, rank, 2), 4) for rank in range(2)]
    for batch, *own in zip(whole, *parts, strict=True):
        assert batch.names == tuple(name for part in own for name in part.names)
        pixels = torch.cat([part.inputs["image"]["pixels"] for part in own])
        torch.testing.assert_close(batch.inputs["image"]["pixels"], pixels)


def test_parquet_folders_with_templates_and_classes_left_out(tmp_path):
    for part in range(2):
        rows = [{"image": png(10 * n), "label": "ab"[n % 2]} for n in range(8 * part, 8 * part + 8)]
        pd.DataFrame(rows).to_parquet(tmp_path / f"{part}.parquet")
    modalities = {"image": ImageModality(), "text": TextModality(templates="cifar")}
    batches = take(stream(tmp_path, modalities=modalities, leave_out_labels=("b",)), 2)
    texts = {
        content_id(f"a {kind}photo of {one} a.") for kind in ("", "bad ", "good ", "blurry ") for one in ("a", "the")
    }
    found = {int(i) for batch in batches for i in batch.item_ids["text"]}
    assert len(found) > 3
    assert found & texts
    assert {int(b.inputs["image"]["pixels"][0, 0, 0, 0]) % 20 for b in batches} == {0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 64}, "64 pairs, but .* has 20"),
        (
            {"modalities": {"image": ImageModality(), "text": TextModality(column="caption")}},
            "missing column 'caption'",
        ),
    ],
)
def test_mistakes(tars, change, message):
    with pytest.raises(UserError, match=message):
        take(stream(tars, **change), 1)


def test_what_cannot_be_streamed(tars, tmp_path):
    (tmp_path / "m.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="takes hub:NAME or a folder of tars or parquet"):
        stream(tmp_path / "m.jsonl")
    data = DataSpec(train=tars, streaming=True)
    with pytest.raises(UserError, match=r"towers\.text is read from a store"):
        StreamedPairs(data, MODALITIES, {"image": Pixels(), "text": Ids("item_id")}, 0, 4)
    pairs = stream(tars)
    with pytest.raises(UserError, match=r"150 of 10000 items \(1\.5%\) cannot be used"):
        pairs.require_usable([("x", "why")] * 150, 200)
    pairs.require_usable([("x", "left out: no text")] * 4, 4)  # four others came into the batch
    for bad, read in (([("x", "why")] * 4, 4), ([("x", "why")] * 4 + [("y", "left out: no text")] * 3, 4)):
        with pytest.raises(UserError, match=rf"{len(bad)} of {len(bad)} items \(100\.0%\) cannot be used"):
            pairs.require_usable(bad, read)


def test_class_numbers_become_names_and_rows_without_a_caption_are_skipped(tmp_path):
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "text": datasets.Value("string"),
        }
    )
    rows = {
        "image": [{"bytes": png(10 * n), "path": None} for n in range(8)],
        "label": [n % 2 for n in range(8)],
        "text": ["one", "two", None, " ", "five", "six", "seven", "eight"],
        "image_id": ["a", "b"] * 4,
    }
    columns = {**features, "image_id": datasets.Value("string")}
    datasets.Dataset.from_dict(rows, datasets.Features(columns)).to_parquet(tmp_path / "0.parquet")
    pairs = stream(tmp_path, 6)
    batch, second, third = take(pairs, 3)
    skipped = [entry for one in (batch, second, third) for entry in one.skipped]
    assert sorted({reason for _, reason in skipped}) == ["left out: empty text", "left out: no text"]
    assert len(skipped) >= 4  # of two epochs at least,
    assert len(dict(skipped)) == 2  # under the same names
    assert len(batch) == 6
    assert pairs.named == {"image"}
    assert set(batch.item_ids["image"].tolist()) == {content_id("a"), content_id("b")}
    labels = {"image": ImageModality(), "text": TextModality(templates="cifar")}
    [batch] = take(stream(tmp_path, 4, modalities=labels, leave_out_labels=("dog",)), 1)
    assert {int(x) % 20 for x in batch.inputs["image"]["pixels"][:, 0, 0, 0]} == {0}
    with pytest.raises(UserError, match=r"no row of .* has the label 'cow'"):
        take(stream(tmp_path, 4, modalities=labels, leave_out_labels=("cow",)), 3)


def test_labels_have_the_same_numbers_in_every_process(tmp_path):
    features = {"image": datasets.Image(), "text": datasets.Value("string")}
    rows = {"image": [{"bytes": png(10 * n), "path": None} for n in range(8)], "text": [f"{n}" for n in range(8)]}
    (tmp_path / "named").mkdir()
    classes = {**features, "label": datasets.ClassLabel(names=["cat", "dog"])}
    data = datasets.Dataset.from_dict({**rows, "label": [n % 2 for n in range(8)]}, datasets.Features(classes))
    data.to_parquet(tmp_path / "named" / "0.parquet")
    pairs = stream(tmp_path / "named", 4)
    assert pairs.label_names == ["cat", "dog"]
    for batch in take(pairs, 2):
        assert batch.labels.tolist() == [int(x) // 10 % 2 for x in batch.inputs["image"]["pixels"][:, 0].amax((1, 2))]
    (tmp_path / "words").mkdir()
    words = {**features, "label": datasets.Value("string")}
    labels = [None if n == 5 else "xy"[n % 2] for n in range(8)]
    data = datasets.Dataset.from_dict({**rows, "label": labels}, datasets.Features(words))
    data.to_parquet(tmp_path / "words" / "0.parquet")
    whole = take(stream(tmp_path / "words", 4), 2)
    parts = [take(stream(tmp_path / "words", 4, rank, 2), 2) for rank in range(2)]
    found = {}
    for batch, *own in zip(whole, *parts, strict=True):
        assert batch.labels.tolist() == [label for part in own for label in part.labels.tolist()]
        found.update(
            zip(
                (int(x) // 10 for x in batch.inputs["image"]["pixels"][:, 0].amax((1, 2))),
                batch.labels.tolist(),
                strict=True,
            )
        )
    assert found[5] == -1
    assert len({found[n] for n in (0, 2, 4, 6)}) == len({found[n] for n in (1, 3, 7)}) == 1
    assert found[0] != found[1]
    assert min(found[0], found[1]) >= 0
    (tmp_path / "none").mkdir()
    data = datasets.Dataset.from_dict({**rows, "label": [None] * 8}, datasets.Features(words))
    data.to_parquet(tmp_path / "none" / "0.parquet")
    assert "streamed: none of the first 8 rows has a label" in stream(tmp_path / "none", 4).tally.notes
    assert not any("has a label" in note for note in stream(tmp_path / "words", 4).tally.notes)


def test_a_stream_without_labels_says_so_in_every_row(tars):
    [batch] = take(stream(tars), 1)
    assert batch.labels.tolist() == [-1] * len(batch)


@pytest.mark.parametrize("kind", ["tars", "parquet"])
def test_a_worker_reads_the_same_stream(tars, tmp_path, kind):
    if kind == "parquet":
        for part in range(3):
            rows = [{"image": png(n), "text": f"{n}"} for n in range(10 * part, 10 * part + 10)]
            pd.DataFrame(rows).to_parquet(tmp_path / f"{part}.parquet")
    pairs = stream(tmp_path if kind == "parquet" else tars, modalities=MODALITIES)
    loader = DataLoader(pairs.iterate_from(3), batch_size=None, num_workers=1)
    for batch, expected in zip(itertools.islice(loader, 6), take(pairs, 9)[3:], strict=True):
        same(batch, expected)
        assert batch.skipped == expected.skipped
