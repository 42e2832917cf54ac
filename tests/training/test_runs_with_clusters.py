"""Whole runs whose similarity comes from clusters: made once or anew, killed, resumed, on two processes; bad input."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_every_objective import newest

import xmodal
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.store import EmbeddingStore, content_id
from xmodal.training.trainer import Trainer

TRAIN = Path(xmodal.__file__).parent / "train.py"
QUIET = ["evaluators={}", "train.trackers=[]"]


@pytest.fixture
def clustered(tiny_bert: Path, tmp_path: Path) -> list[str]:
    """Overrides: SupCon over clusters of the store's texts."""
    return [
        f"towers.text={{kind: store, path: {tmp_path / 'store'}, tower: {{kind: transformers, name: {tiny_bert}}}}}",
        "objective={kind: supcon}",
        "data.clusters={side: text, count: 5}",
        *QUIET,
    ]


def start(config: Path, folder: Path, *overrides: str) -> tuple[Trainer, list]:
    """A run, and the batches it makes."""
    trainer = Trainer(load_config(config, [*overrides, f"output={folder}"]))
    step, made = trainer.stepper.step, []

    def noted(batch):
        made.append(batch)
        return step(batch)

    trainer.stepper.step = noted  # type: ignore[method-assign]
    return trainer, made


def die_at(trainer: Trainer, number: int) -> None:
    """Train until step `number`, and no further."""
    step = trainer.stepper.step

    def step_or_die(batch):
        if batch.clock.step == number:
            raise KeyboardInterrupt
        return step(batch)

    trainer.stepper.step = step_or_die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()


def equal(one: Path, two: Path) -> None:
    a, b = newest(one), newest(two)
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def saved(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.stem: load_file(path) for path in sorted((run / "clusters").iterdir())}


def test_the_clusters_of_a_store_are_the_labels_of_every_batch(
    tiny_config: Path, clustered: list[str], tmp_path: Path
) -> None:
    trainer, made = start(tiny_config, tmp_path / "run", *clustered, "train.steps=6")
    trainer.fit()
    [(name, found)] = saved(tmp_path / "run").items()
    assert name == "epoch-000000"
    label_of = dict(zip(found["ids"].tolist(), found["labels"].tolist(), strict=True))
    for batch in made:
        assert batch.labels.tolist() == [label_of[pair] for pair in batch.ids.tolist()]
    store = EmbeddingStore.open(tmp_path / "store")
    texts = trainer.dataset.sides["text"].items.values.to_pylist()  # type: ignore[union-attr]
    rows = store.rows(np.array([content_id(text) for text in texts])).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    distances = np.array([[np.sum((row - centre) ** 2) for centre in found["centres"].numpy()] for row in rows])
    pairs = [content_id(name) for name in trainer.dataset.names]  # type: ignore[union-attr]
    assert [label_of[pair] for pair in pairs] == distances.argmin(1).tolist()
    [note] = [note for note in trainer.dataset.tally.notes if note.startswith("labels: ")]
    assert "labels: 5 clusters of text by k-means over 36 different items" in note
    assert "the manifest's own are not used (normalised mutual information 0." in note
    assert (tmp_path / "run" / "labels.json").is_file()  # what the classes of the manifest were stays known


def test_a_killed_run_goes_on_with_the_clusters_it_had(tiny_config: Path, clustered: list[str], tmp_path: Path) -> None:
    common = [*clustered, "train.steps=6", "train.save_every=2"]
    start(tiny_config, tmp_path / "whole", *common)[0].fit()
    die_at(start(tiny_config, tmp_path / "run", *common)[0], 3)
    start(tiny_config, tmp_path / "run", *common, "train.resume=true", "data.workers=2")[0].fit()
    equal(tmp_path / "run", tmp_path / "whole")
    with pytest.raises(UserError, match=r"cannot resume with another config: data\.clusters\.count: 5 -> 6"):
        start(tiny_config, tmp_path / "run", *common, "train.resume=true", "data.clusters.count=6")


def test_clusters_of_other_settings_are_made_again(tiny_config: Path, clustered: list[str], tmp_path: Path) -> None:
    def made(*changes: str) -> tuple[torch.Tensor, int]:
        trainer = start(tiny_config, tmp_path / "run", *clustered, *changes)[0]
        trainer.clusters.open(0)  # type: ignore[union-attr]  # no checkpoint yet: the next one starts over
        path = tmp_path / "run" / "clusters" / "epoch-000000.safetensors"
        return load_file(path)["labels"], path.stat().st_mtime_ns

    labels, moment = made()
    assert made()[1] == moment
    assert int(made("data.clusters.count=4")[0].max()) == 3
    assert made("seed=3")[1] != moment
    again, _ = made()
    assert torch.equal(again, labels)


@pytest.mark.slow
def test_clusters_of_a_tower_that_trains_are_made_anew(tiny_config: Path, clustered: list[str], tmp_path: Path) -> None:
    anew = "data.clusters={side: speech, count: 4, refresh: 1}"  # an epoch is 6 steps
    common = [*clustered[:2], *QUIET, anew, "train.steps=14", "train.save_every=4", "optim.lr=1e-2"]
    trainer, made = start(tiny_config, tmp_path / "whole", *common)
    trainer.fit()
    found = saved(tmp_path / "whole")
    assert list(found) == ["epoch-000002"]  # nothing can ask for the others any more
    label_of = dict(zip(found["epoch-000002"]["ids"].tolist(), found["epoch-000002"]["labels"].tolist(), strict=True))
    assert [label_of[pair] for batch in made[12:] for pair in batch.ids.tolist()] == [
        label for batch in made[12:] for label in batch.labels.tolist()
    ]
    # killed after epoch 1 began, before a checkpoint of it: epoch 0's are there still
    die_at(start(tiny_config, tmp_path / "early", *common)[0], 7)
    assert list(saved(tmp_path / "early")) == ["epoch-000000", "epoch-000001"]
    shutil.copytree(tmp_path / "early", tmp_path / "lost")
    resumed, again = start(tiny_config, tmp_path / "early", *common, "train.resume=true")
    resumed.fit()
    for one, other in zip(made[4:], again, strict=True):
        assert torch.equal(one.labels, other.labels)
    equal(tmp_path / "early", tmp_path / "whole")
    (tmp_path / "lost" / "clusters" / "epoch-000000.safetensors").unlink()
    with pytest.raises(UserError, match=r"epoch-000000\.safetensors: not there, .* have moved on; restore it"):
        start(tiny_config, tmp_path / "lost", *common, "train.resume=true")[0].fit()


@pytest.mark.slow
def test_two_processes_see_the_clusters_of_one(tiny_config: Path, clustered: list[str], tmp_path: Path) -> None:
    common = [*clustered, "train.steps=4", "train.save_every=2", "optim.eps=1e-3", "towers.speech.dropout=0"]
    start(tiny_config, tmp_path / "one", *common)[0].fit()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(TRAIN)]
    done = subprocess.run(
        [*command, str(tiny_config), *common, f"output={tmp_path / 'two'}"],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = saved(tmp_path / "one")["epoch-000000"], saved(tmp_path / "two")["epoch-000000"]
    assert torch.equal(one["labels"], two["labels"])
    for name, value in newest(tmp_path / "one").items():
        torch.testing.assert_close(newest(tmp_path / "two")[name], value, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["data.clusters.side=txt"], r"data\.clusters\.side: 'txt' is not one of the towers \(speech, text\)"),
        (
            ["data.clusters.side=speech"],
            r"towers\.speech has no store whose .*; set data\.clusters\.refresh, in epochs",
        ),
        (
            ["data.clusters.count=37"],
            r"37 clusters, but .* has 36 different items of text; set data\.clusters\.count=36",
        ),
        (["data.clusters.count=1"], r"data\.clusters\.count: 1 .*at least 2"),
        (["data.clusters.refresh=2"], r"nothing of towers\.text trains, so its clusters stay; set refresh to never"),
        (["data.clusters.refresh=often"], r"data\.clusters\.refresh: "),
        (["objective={kind: infonce}"], r"data\.clusters: no term of the objective asks for labels; take it out"),
        (["data.streaming=true"], r"data\.clusters: the items of a stream are not known beforehand"),
        (
            ["towers.text.head={kind: attention, dim: 16}"],
            r"the store of towers\.text holds sequences, .* another side",
        ),
    ],
)
def test_clusters_that_cannot_be(
    changes: list[str], told: str, tiny_config: Path, clustered: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        start(tiny_config, tmp_path / "run", *clustered, *changes)
