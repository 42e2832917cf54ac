"""Whole runs with several terms, views, momentum targets and a queue: killed, resumed, and on two processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import xmodal
from xmodal.batch import PairBatch
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.objectives import InfoNCE, Need
from xmodal.training.trainer import Trainer

TRAIN = Path(xmodal.__file__).parent / "train.py"
TERMS = [
    "objective={align: {kind: cwcl}, "
    "self: {kind: nt_xent, on: [speech], weight: {schedule: linear, from: 1, to: 0.5}}, "
    "slow: {kind: moco, on: [speech], queue: 33, weight: 0.2}}",
    "targets={speech: {momentum: {schedule: cosine, from: 0.9, to: 1}}}",
    "data.modalities.speech.training_views=2",
    "evaluators={}",
    "train.trackers=[jsonl]",
]


def newest(run: Path) -> dict[str, torch.Tensor]:
    [checkpoint] = (run / "checkpoints").iterdir()
    return load_file(checkpoint / "model.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(b[name], value), name


class Labelled(InfoNCE):
    """An InfoNCE that asks for labels."""

    class Spec(InfoNCE.Spec):
        """Asks for labels."""

        def needs(self, *sides):
            return [Need("labels")]


class KillError(Exception):
    """Stands for a kill."""


def test_queues_and_targets_go_on_to_the_bit_after_a_kill(tiny_config: Path, tmp_path: Path) -> None:
    common = [*TERMS, "train.steps=8", "train.save_every=4"]
    Trainer(load_config(tiny_config, [f"output={tmp_path / 'whole'}", *common])).fit()
    broken = Trainer(load_config(tiny_config, [f"output={tmp_path / 'run'}", *common]))
    step = broken.stepper.step

    def step_or_die(batch: PairBatch):
        if batch.clock.step == 6:
            raise KillError
        return step(batch)

    broken.stepper.step = step_or_die  # type: ignore[method-assign]
    with pytest.raises(KillError):
        broken.fit()
    Trainer(load_config(tiny_config, [f"output={tmp_path / 'run'}", *common, "train.resume=true"])).fit()
    whole = newest(tmp_path / "whole")
    equal(newest(tmp_path / "run"), whole)
    assert {"targets.speech.copied.head.weight", "terms.slow.queues.speech_1.held"} <= whole.keys()
    assert whole["terms.slow.queues.speech_1.state"].tolist() == [80 % 33, 33]  # 8 batches of 10
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert not any(name.startswith(("targets.", "terms.slow.queues")) for name in kept)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = {name.removeprefix("train/"): value for name, value in rows[-1].items()}
    assert last["slow/queue"] == 33
    found = last["align/loss"] + 0.5 * last["self/loss"] + 0.2 * last["slow/loss"]
    assert last["loss"] == pytest.approx(found, abs=0.2)  # means over two steps, whose weights differ


def launch(config: Path, *overrides: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(TRAIN)]
    done = subprocess.run([*command, str(config), *overrides], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


# a large eps: Adam turns rounding noise in gradients that are zero into whole steps
STEADY = [*TERMS, "optim.eps=1e-3", "towers.speech.dropout=0", "train.save_every=2"]
STEADY.append("objective.far={kind: sogclr, weight: 0.2}")  # its table grows


@pytest.mark.slow
def test_two_processes_train_as_one(tiny_config: Path, tmp_path: Path) -> None:
    Trainer(load_config(tiny_config, [f"output={tmp_path / 'one'}", *STEADY, "train.steps=4"])).fit()
    launch(tiny_config, f"output={tmp_path / 'two'}", *STEADY, "train.steps=4")
    one, two = newest(tmp_path / "one"), newest(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=2e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
def test_two_processes_resume_as_two(tiny_config: Path, tmp_path: Path) -> None:
    # stopped after two steps: what `steps` says only changes how long it goes on from there
    halves = [*STEADY, "optim.warmup=0", "optim.final=1", "objective.self.weight=1", "targets.speech.momentum=0.9"]
    launch(tiny_config, f"output={tmp_path / 'whole'}", *halves, "train.steps=4")
    launch(tiny_config, f"output={tmp_path / 'halves'}", *halves, "train.steps=2")
    launch(tiny_config, f"output={tmp_path / 'halves'}", *halves, "train.steps=4", "train.resume=changed")
    equal(newest(tmp_path / "halves"), newest(tmp_path / "whole"))


def test_one_side_alone_is_simclr(tiny_config: Path, tmp_path: Path) -> None:
    text = tiny_config.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("  text:")]
    tiny_config.write_text("\n".join(lines))
    overrides = ["objective={kind: nt_xent, on: [speech]}", "data.modalities.speech.training_views=2", "evaluators={}"]
    Trainer(load_config(tiny_config, [*overrides, "train.steps=30", "optim.lr=1e-2", "train.trackers=[jsonl]"])).fit()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train/loss"] < rows[0]["train/loss"]
    assert xmodal.load(tmp_path / "run").modalities == ("speech",)


def test_an_outer_problem_is_solved_beside_the_inner_one(tiny_config: Path, tmp_path: Path) -> None:
    common = ["objective={kind: 'outer_objective:Weighted'}", "towers.speech.head={kind: mlp, dim: 32, hidden: 8}"]
    common += ["evaluators={}", "train.trackers=[jsonl]", "train.steps=4", "train.virtual_lr=0.5"]
    with pytest.raises(UserError, match=r"outer problem is never solved; set train\.step=bilevel"):
        Trainer(load_config(tiny_config, [*common, f"output={tmp_path / 'plain'}"]))
    trainer = Trainer(load_config(tiny_config, [*common, "train.step=bilevel"]))
    before = trainer.stepper.outer[0].detach().clone()
    trainer.fit()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert "train/outer/loss" in rows[-1]
    assert not torch.equal(trainer.stepper.outer[0].detach(), before)
    with pytest.raises(UserError, match=r"train\.step: bilevel is for a term with an outer problem"):
        Trainer(load_config(tiny_config, ["train.step=bilevel", f"output={tmp_path / 'other'}"]))


def test_labels_that_a_term_needs_and_the_data_lack(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("label")
        row["speech"] = str(tiny_pairs / row["speech"])
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [
        f"data.train={tmp_path / 'bare.jsonl'}",
        "objective={kind: 'test_runs_with_terms:Labelled'}",
        "evaluators={}",
    ]
    with pytest.raises(UserError, match=r"needs labels, and .*bare\.jsonl has no column `label`"):
        Trainer(load_config(tiny_config, overrides))
