"""Whole runs with hard negatives: the lists are kept, resumed runs are equal to the bit, mistakes are one line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from xmodal.batch import PairBatch
from xmodal.config.load import load_config
from xmodal.config.train_spec import HardBatches
from xmodal.data.hard import kept_lists
from xmodal.data.hard.guide_items import guide_items
from xmodal.errors import UserError
from xmodal.store import EmbeddingStore, content_id
from xmodal.training.trainer import Trainer

HARD = ["train.sampler={kind: hard, share: 0.5, neighbours: 4}", "train.trackers=[jsonl]", "evaluators={}"]


@pytest.fixture
def stored(tiny_config: Path, tiny_bert: Path, tmp_path: Path) -> Path:
    """The tiny config with its text side read from a store; 60 pairs, 36 different texts."""
    text = f"{{kind: store, path: {tmp_path / 'store'}, tower: {{kind: transformers, name: {tiny_bert}}}}}"
    written = tiny_config.read_text()
    tiny_config.write_text(written.replace(f"{{kind: transformers, name: {tiny_bert}}}", text))
    return tiny_config


def trainer(config: Path, *overrides: str) -> Trainer:
    return Trainer(load_config(config, [*HARD, *overrides]))


def test_lists_are_those_of_the_store_and_kept(stored: Path, tmp_path: Path, tiny_pairs: Path) -> None:
    made = trainer(stored)
    texts = [row["text"] for row in map(json.loads, (tiny_pairs / "train.jsonl").read_text().splitlines())]
    items = guide_items(made.dataset, "text", by_label=False)
    assert len(items) == len(set(texts)) == 36
    features = EmbeddingStore.open(tmp_path / "store").rows(np.array([content_id(text) for text in texts]))
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(items.features()[items.of_pair], features, atol=1e-6)
    lists = np.load(tmp_path / "run" / "neighbours.npy")
    cosines = features @ features.T
    for row, text in enumerate(texts):
        others = sorted({other for other in texts if other != text}, key=lambda t: -cosines[row, texts.index(t)])
        assert lists[items.of_pair[row]].tolist() == [items.of_pair[texts.index(other)] for other in others[:4]]
    about = json.loads((tmp_path / "run" / "neighbours.json").read_text())
    assert (about["search"], about["items"]) == ("exact", 36)
    notes = "\n".join(made.dataset.tally.notes)
    assert "neighbours of 36 items by exact search; 0 items have fewer than 4" in notes
    assert "share 0.5 asked, and 0." in notes
    stamp = (tmp_path / "run" / "neighbours.npy").stat().st_mtime_ns
    trainer(stored)
    assert (tmp_path / "run" / "neighbours.npy").stat().st_mtime_ns == stamp  # read, not made again
    trainer(stored, "train.sampler.neighbours=3")
    assert np.load(tmp_path / "run" / "neighbours.npy").shape == (36, 3)


def test_other_labels_are_asked_for(stored: Path, tmp_path: Path) -> None:
    made = trainer(stored, "train.sampler.other_labels=true")
    items, labels = guide_items(made.dataset, "text", by_label=True), made.dataset.labels
    lists = np.load(tmp_path / "run" / "neighbours.npy")
    for row, item in enumerate(items.of_pair):
        assert items.labels[item] == labels[row]
        assert labels[row] not in items.labels[lists[item]]


def test_items_equal_on_the_other_side_are_one_group(stored: Path, tmp_path: Path, tiny_pairs: Path) -> None:
    """Two texts of one recording are positives of each other, as the objectives see it."""
    rows = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()][:30]
    for row in rows:
        row["speech"] = str(tiny_pairs / row["speech"])
    rows[7]["speech"] = rows[3]["speech"]
    (tmp_path / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = trainer(stored, f"data.train={tmp_path / 'few.jsonl'}").dataset
    items = guide_items(dataset, "text", by_label=False)
    assert rows[7]["text"] != rows[3]["text"]
    assert items.of_pair[7] != items.of_pair[3]
    assert items.groups[items.of_pair[7]] == items.groups[items.of_pair[3]]
    texts = [row["text"] for row in rows]
    others = {items.groups[items.of_pair[n]] for n in range(30) if texts[n] not in (texts[3], texts[7])}
    assert len(others) == len({*texts} - {texts[3], texts[7]})


def test_equal_texts_are_one_item_though_another_row_has_two(stored: Path, tmp_path: Path, tiny_pairs: Path) -> None:
    rows = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()]
    texts = [row["text"] for row in rows]
    for row in rows:
        row |= {"speech": str(tiny_pairs / row["speech"]), "text": [row["text"]]}
    rows[0]["text"] = ["one wording", "another wording"]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queue = "objective={kind: moco, queue: 4096}"
    views = ["data.modalities.speech.training_views=2", "train.sampler.guide=text"]
    made = trainer(stored, f"data.train={tmp_path / 'two.jsonl'}", queue, *views)
    items = guide_items(made.dataset, "text", by_label=False)
    assert len(items) == 1 + len({*texts[1:]})
    for text in {*texts[1:]}:
        assert len({items.of_pair[row] for row in range(1, len(texts)) if texts[row] == text}) == 1
    assert any(note.startswith("objective.queue: 4,096 places and ") for note in made.dataset.tally.notes)


class KillError(Exception):
    """Stands for a kill."""


def test_resumed_is_equal_to_the_bit(stored: Path, tmp_path: Path) -> None:
    trainer(stored, f"output={tmp_path / 'whole'}").fit()
    broken = trainer(stored)
    step = broken.stepper.step

    def step_or_die(batch: PairBatch) -> dict[str, torch.Tensor]:
        if batch.clock.step == 7:  # in the second epoch
            raise KillError
        return step(batch)

    broken.stepper.step = step_or_die  # type: ignore[method-assign]
    with pytest.raises(KillError):
        broken.fit()
    trainer(stored, "train.resume=true").fit()
    one, two = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "run"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(UserError, match=r"cannot resume with another config: train\.sampler\.share: 0\.5 -> 0\.25"):
        trainer(stored, "train.resume=true", "train.sampler.share=0.25")


@pytest.mark.slow
def test_two_processes_train_on_the_batches_of_one(stored: Path, tmp_path: Path) -> None:
    steady = [*HARD, "train.steps=2", "train.log_every=1", "data.modalities.speech.augment={}"]
    steady += ["towers.speech.dropout=0", f"output={tmp_path / 'two'}"]
    Trainer(load_config(stored, [*steady[:-1], f"output={tmp_path / 'one'}"])).fit()
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "xmodal.train",
    ]
    done = subprocess.run([*command, str(stored), *steady], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def losses(run: str) -> list[Any]:
        rows = [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        return [row["train/loss"] for row in rows if "train/loss" in row]

    assert losses("two") == pytest.approx(losses("one"), rel=1e-4)


MISTAKES = {
    "train.sampler.share=1": r"train\.sampler\.share: 1 must be less than 1$",
    "train.sampler.share=-0.1": r"train\.sampler\.share: -0\.1 must be at least 0$",
    "train.sampler.kind=hrad": r"train\.sampler\.kind: 'hrad' is not one of shuffled, hard; did you mean hard\?$",
    "train.sampler.guide=image": r"train\.sampler\.guide: 'image' is not one of the towers \(speech, text\)$",
    "train.sampler.guide=speech": r"by stored vectors, and towers\.speech is of kind speech_encoder; read it from",
    "train.batch_seconds=20": r"train\.sampler: hard negatives are for batches of so many pairs; set train\.batch_size",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_line(stored: Path, override: str) -> None:
    overrides = [*HARD, override] + ["train.batch_size=null"] * override.startswith("train.batch_seconds")
    with pytest.raises(UserError, match=MISTAKES[override]) as error:
        load_config(stored, overrides)
    assert "\n" not in str(error.value)


def test_mistakes_without_a_store_or_of_streams(tiny_config: Path, stored: Path, tiny_bert: Path) -> None:
    with pytest.raises(UserError, match=r"a stream does not know; take it out$"):
        load_config(stored, [*HARD, "data.streaming=true", f"towers.text={{kind: transformers, name: {tiny_bert}}}"])
    with pytest.raises(UserError, match=r"towers\.text is of kind transformers; .*towers\.text\.kind: store"):
        load_config(stored, [*HARD, f"towers.text={{kind: transformers, name: {tiny_bert}}}"])


def test_labels_and_an_index_that_are_not_there(
    stored: Path, tmp_path: Path, tiny_pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()]
    plain = [{**row, "speech": str(tiny_pairs / row["speech"])} for row in rows]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps({**row, "label": None}) + "\n" for row in plain))
    with pytest.raises(UserError, match=r"train\.sampler\.other_labels: .*plain\.jsonl has no column `label`"):
        trainer(stored, "train.sampler.other_labels=true", f"data.train={tmp_path / 'plain.jsonl'}")
    monkeypatch.setattr(kept_lists, "has_index", lambda: False)
    with pytest.raises(UserError, match=r"train\.sampler\.search: usearch is not installed; .*search: exact"):
        trainer(stored, "train.sampler.search=usearch", f"output={tmp_path / 'other'}")


def test_neighbours_of_an_index_are_trained_on(stored: Path, tmp_path: Path) -> None:
    run = trainer(stored, "train.sampler.search=usearch", f"output={tmp_path / 'indexed'}")
    run.fit()
    [about] = (tmp_path / "indexed").rglob("neighbours.json")
    assert json.loads(about.read_text())["search"] == "usearch's approximate"


def test_defaults() -> None:
    spec = HardBatches()
    assert (spec.share, spec.neighbours, spec.skip_nearest, spec.search) == (0.5, 32, 0, "auto")
