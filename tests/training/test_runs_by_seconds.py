"""Whole runs whose batches are seconds of audio: resumed, on several processes, and what is said of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

import xmodal
from xmodal.batch import PairBatch
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.training.trainer import Trainer

TRAIN = Path(xmodal.__file__).parent / "train.py"
SECONDS = ["train.batch_size=null", "train.batch_seconds=1.8", "train.trackers=[jsonl]", "evaluators={}"]


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def test_a_run_says_what_its_batches_hold(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    Trainer(load_config(tiny_config, [*SECONDS, "train.steps=20"])).fit()
    said = capsys.readouterr()
    assert "train.batch_seconds=1.8: " in said.out + said.err
    assert "pairs each, median" in said.out + said.err
    facts = json.loads((tmp_path / "run" / "training.json").read_text())["data"]
    assert any(note.startswith("train.batch_seconds=1.8: ") for note in facts["notes"])
    saved = load_config(tmp_path / "run" / "config.yaml")
    assert (saved.train.batch_size, saved.train.batch_seconds) == (None, 1.8)
    assert xmodal.load(tmp_path / "run").encode("text", ["stop"]).shape == (1, 32)


class KillError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("killed_at", [5, 17])
def test_resumed_is_equal_to_the_bit(tiny_config: Path, tmp_path: Path, killed_at: int) -> None:
    """Killed in the first epoch, or in the second: one has about fourteen batches."""
    common = [*SECONDS, "train.steps=24"]
    Trainer(load_config(tiny_config, [*common, f"output={tmp_path / 'whole'}"])).fit()
    broken = Trainer(load_config(tiny_config, common))
    step = broken.stepper.step

    def step_or_die(batch: PairBatch) -> dict[str, torch.Tensor]:
        if batch.clock.step == killed_at:
            raise KillError
        return step(batch)

    broken.stepper.step = step_or_die  # type: ignore[method-assign]
    with pytest.raises(KillError):
        broken.fit()
    Trainer(load_config(tiny_config, [*common, "train.resume=true"])).fit()
    expected, found = tensors(tmp_path / "whole"), tensors(tmp_path / "run")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.slow
def test_three_processes_train_as_one(tiny_config: Path, tmp_path: Path) -> None:
    """Some batches hold two pairs, so that one of the processes has none."""
    short = ["train.batch_seconds=0.9" if part.startswith("train.batch_seconds") else part for part in SECONDS]
    common = ["train.steps=6", "optim.eps=1e-3", "towers.speech.dropout=0", *short]
    Trainer(load_config(tiny_config, [f"output={tmp_path / 'one'}", *common])).fit()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3"]
    several = subprocess.run(
        [*command, str(TRAIN), str(tiny_config), f"output={tmp_path / 'several'}", *common],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert several.returncode == 0, several.stderr[-2000:]
    found, expected = tensors(tmp_path / "several"), tensors(tmp_path / "one")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=2e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_items_longer_than_a_batch_are_left_out_and_said(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()]
    rows = [{**row, "speech": str(tiny_pairs / row["speech"])} for row in rows]
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).standard_normal(16_000) * 0.1, 8_000)
    rows.append({"id": "long", "speech": str(tmp_path / "long.wav"), "text": "stop it", "label": "stop"})
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = f"data.train={tmp_path / 'train.jsonl'}"
    Trainer(load_config(tiny_config, [*SECONDS, data, "train.steps=2"])).fit()
    facts = json.loads((tmp_path / "run" / "training.json").read_text())["data"]
    assert (facts["seen"], facts["used"]) == (61, 60)
    assert facts["left_out"][0]["examples"] == [["long", "2.00 s, more than train.batch_seconds=1.8"]]
    with pytest.raises(UserError, match="no two of 61 items fit into that"):
        Trainer(load_config(tiny_config, [*SECONDS[:1], "train.batch_seconds=0.4", data, f"output={tmp_path / 'b'}"]))
