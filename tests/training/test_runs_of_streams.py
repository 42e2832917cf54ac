"""Whole runs with worker processes, over streams, and with optimizer rules: equal to the bit, killed or not."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from picture_runs import make_pictures
from PIL import Image
from safetensors.torch import load_file

from xmodal.batch import PairBatch
from xmodal.config.load import load_config
from xmodal.training.trainer import Trainer

RULES = "optim.rules=[{match: 'image.backbone.*norm', lr_scale: 0}, {match: head, lr_scale: 0.5, weight_decay: 0}]"


@pytest.fixture
def config(tiny_bert: Path, tmp_path: Path) -> Path:
    """A config over two parquet files of pictures, a row of which cannot be decoded."""
    folder = make_pictures(tmp_path / "pictures")
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    table = []
    for row in rows:
        buffer = io.BytesIO()
        Image.open(folder / row["image"]).save(buffer, "PNG")
        table.append({"id": row["id"], "image": buffer.getvalue(), "text": row["text"][0], "label": row["label"]})
    table[5]["image"] = b"no picture"
    (tmp_path / "parquet").mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(table)), 2)):
        pd.DataFrame([table[i] for i in part]).to_parquet(tmp_path / "parquet" / f"{number}.parquet")
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
data:
  train: {tmp_path / "parquet"}
  max_bad: 0.2
  modalities: {{image: {{kind: image, training_views: 2, augment: {{pad: 2}}}}}}
towers:
  image: {{kind: image_encoder, image_size: 16, widths: [8, 16], norm: group}}
  text: {{kind: transformers, name: {tiny_bert}}}
objective: {{align: {{kind: infonce}}, self: {{kind: nt_xent, on: [image], weight: 0.5}}}}
optim: {{lr: 5e-3}}
train: {{steps: 8, batch_size: 8, threads: 1, log_every: 1, save_every: 4, trackers: [jsonl]}}
"""
    )
    return path


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def equal(a: Path, b: Path) -> None:
    mine, theirs = weights(a), weights(b)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(theirs[name], value), name


class KillError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("streaming", [False, pytest.param(True, marks=pytest.mark.slow)])  # 46 s: `datasets` pauses
def test_workers_change_nothing_and_a_kill_costs_nothing(config: Path, tmp_path: Path, streaming: bool) -> None:
    common = [RULES, f"data.streaming={str(streaming).lower()}", "data.shuffle_buffer=16"]
    Trainer(load_config(config, [f"output={tmp_path / 'whole'}", *common])).fit()
    Trainer(load_config(config, [f"output={tmp_path / 'workers'}", *common, "data.workers=2"])).fit()
    equal(tmp_path / "whole", tmp_path / "workers")
    broken = Trainer(load_config(config, [f"output={tmp_path / 'run'}", *common]))
    step = broken.stepper.step

    def step_or_die(batch: PairBatch):
        if batch.clock.step == 6:
            raise KillError
        return step(batch)

    broken.stepper.step = step_or_die  # type: ignore[method-assign]
    with pytest.raises(KillError):
        broken.fit()
    Trainer(load_config(config, [f"output={tmp_path / 'run'}", *common, "train.resume=true", "data.workers=1"])).fit()
    equal(tmp_path / "whole", tmp_path / "run")
    facts = json.loads((tmp_path / "whole" / "training.json").read_text())["data"]
    assert sum(each["count"] for each in facts["left_out"]) >= 1  # the row that cannot be decoded
    assert facts["seen"] == facts["used"] + sum(each["count"] for each in facts["left_out"])
