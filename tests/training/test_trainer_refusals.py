"""What a run refuses, stops at, or leaves out and counts; on tiny towers."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate import DistributedType

import xmodal
from xmodal.batch import PairBatch
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.training.opening import require_whole_parameters
from xmodal.training.trainer import Trainer

TRAIN = Path(xmodal.__file__).parent / "train.py"


def test_an_existing_run_is_not_overwritten(tiny_config: Path) -> None:
    Trainer(load_config(tiny_config)).fit()
    with pytest.raises(UserError, match=r"already holds a run.*train\.resume=true"):
        Trainer(load_config(tiny_config))
    with pytest.raises(
        UserError, match=r"optim\.lr: 0\.003 -> 0\.1 changes the steps to come; .*train\.resume=changed"
    ):
        Trainer(load_config(tiny_config, ["train.resume=true", "optim.lr=0.1"]))


def test_a_folder_of_something_else_is_not_touched(tiny_config: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not a run of xmodal"):
        Trainer(load_config(tiny_config))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_loss_that_is_not_finite_stops_with_the_batch(tiny_config: Path, tmp_path: Path) -> None:
    high = ["optim.lr=1e30", "optim.clip=0", "train.save_every=0", "optim.warmup=0"]
    done = subprocess.run([sys.executable, TRAIN, tiny_config, *high], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    line = next(x for x in done.stderr.splitlines() if x.startswith("error:"))
    assert "not finite" in line
    assert any(name in line for name in ("play_", "stop_", "set_", "call_"))


def test_diverged_weights_never_replace_a_good_checkpoint(tiny_config: Path, tmp_path: Path) -> None:
    trainer = Trainer(load_config(tiny_config, [f"output={tmp_path / 'bad'}", "train.save_every=1", "optim.warmup=0"]))
    with torch.no_grad():
        next(trainer.aligner.parameters()).fill_(float("inf"))
    with pytest.raises(UserError, match="has diverged; there is no checkpoint yet; start again with a lower"):
        trainer._save_and_evaluate(last=True)
    assert not (tmp_path / "bad" / "checkpoints").exists()


def test_unreadable_audio_is_skipped_counted_and_listed(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()]
    for row in rows:
        row["speech"] = str(tiny_pairs / row["speech"])
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "nan.wav", np.full(4000, np.nan, np.float32), 8000, subtype="FLOAT")
    rows[0]["speech"], rows[1]["speech"] = str(tmp_path / "empty.wav"), str(tmp_path / "nan.wav")
    manifest = tmp_path / "train.jsonl"
    manifest.write_text("".join(json.dumps(r) + "\n" for r in rows))
    few, many = f"output={tmp_path / 'few'}", f"output={tmp_path / 'many'}"
    Trainer(load_config(tiny_config, [few, f"data.train={manifest}", "data.max_bad=0.1"])).fit()
    first, *told = [json.loads(x) for x in (tmp_path / "few" / "skipped.jsonl").read_text().splitlines()]
    assert first["tally"]["used"] + sum(each["count"] for each in first["tally"]["left_out"]) == first["tally"]["seen"]
    listed = [row["id"] for row in told]
    assert listed == [rows[0]["id"], rows[1]["id"]]
    with pytest.raises(UserError, match=r"1 of 60 items.*empty\.wav.*data\.max_bad"):
        Trainer(load_config(tiny_config, [many, f"data.train={manifest}", "data.max_bad=0.001"]))


def test_a_batch_of_which_nothing_can_be_read_is_no_update(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    common = ["train.steps=3", "evaluators={}", "train.trackers=[jsonl]", "train.log_every=1", "optim.lr=1e-2"]
    trainer = Trainer(load_config(tiny_config, common))
    step, weights = trainer.stepper.step, []

    def empty_at_first(batch):  # type: ignore[no-untyped-def]
        if batch.clock.step < 2:
            batch = batch_of_none(batch)
        parts = step(batch)
        weights.append(torch.cat([p.detach().flatten().clone() for p in trainer.aligner.parameters()]))
        return parts

    trainer.stepper.step = empty_at_first  # type: ignore[method-assign]
    trainer.fit()
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert "step 2: none of the batch's items can be read; no update is made" in "".join(capsys.readouterr())
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("train/empty_batches") for row in logged if "train/lr" in row] == [1, 1, None]
    assert ["train/loss" in row for row in logged if "train/lr" in row] == [False, False, True]


def batch_of_none(batch: PairBatch) -> PairBatch:
    """As a batch is that lost every item."""
    return replace(
        batch,
        inputs={side: {name: x[:0] for name, x in rows.items()} for side, rows in batch.inputs.items()},
        ids=batch.ids[:0],
        item_ids={side: ids[:0] for side, ids in batch.item_ids.items()},
        labels=batch.labels[:0],
        names=(),
    )


def test_a_test_without_its_recordings_stops_the_run_before_it_trains(
    tiny_config: Path, tiny_pairs: Path, tmp_path: Path
) -> None:
    (tmp_path / "test.jsonl").write_text((tiny_pairs / "test.jsonl").read_text())  # its audio stays behind
    with pytest.raises(UserError, match=r"test\.jsonl: 12 of 12 items .*no such file.*from the manifest's folder"):
        Trainer(load_config(tiny_config, [f"evaluators.held.test={tmp_path / 'test.jsonl'}"]))
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_data_is_refused(tiny_config: Path) -> None:
    with pytest.raises(UserError, match=r"train\.batch_size: 100 pairs, but the data has 60"):
        Trainer(load_config(tiny_config, ["train.batch_size=100"]))


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM])
def test_sharded_parameters_are_refused(kind: DistributedType) -> None:
    with pytest.raises(UserError, match=f"found distributed type {kind.value}, expected one process or DDP"):
        require_whole_parameters(kind)
    require_whole_parameters(DistributedType.MULTI_CPU)


def test_a_run_does_not_go_on_with_other_data(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    rows = (tiny_pairs / "train.jsonl").read_text().replace('"speech": "', f'"speech": "{tiny_pairs}/').splitlines()
    data.write_text("\n".join(rows))
    Trainer(load_config(tiny_config, [f"data.train={data}"])).fit()
    (tmp_path / "run" / "report" / "report.json").unlink()
    one, two = json.loads(rows[0]), json.loads(rows[-1])
    one["label"], two["label"] = two["label"], one["label"]
    swapped = [json.dumps(one), *rows[1:-1], json.dumps(two)]
    for changed in (rows[:-1], swapped):
        data.write_text("\n".join(changed))
        with pytest.raises(UserError, match=r"has changed since"):
            Trainer(load_config(tiny_config, [f"data.train={data}", "train.resume=true"]))
    with pytest.raises(UserError, match=r"train\.jsonl has changed since .*run began with it; put the data back"):
        Trainer(load_config(tiny_config, [f"data.train={data}", "train.resume=true"]))


def test_another_programs_folder_is_left_alone(tiny_config: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "towers").mkdir(parents=True)
    (theirs / "config.yaml").write_text("my: config\n")
    (theirs / "towers" / "data.txt").write_text("precious")
    with pytest.raises(UserError, match="exists and is not a run of xmodal"):
        Trainer(load_config(tiny_config, [f"output={theirs}"]))
    assert (theirs / "config.yaml").read_text() == "my: config\n"
    assert (theirs / "towers" / "data.txt").read_text() == "precious"


@pytest.mark.slow
def test_a_mistake_under_torchrun_is_one_line(tiny_config: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run([*launch, str(TRAIN), str(tiny_config)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        f"error: output: {tmp_path / 'run'} exists and is not a run of xmodal; choose another folder (output=...)"
    ]
    assert "Connection" not in done.stderr
    assert "trainer.py" not in done.stderr
