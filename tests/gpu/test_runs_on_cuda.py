"""Whole tiny runs on a card, each a process of its own: fp16, bf16, DDP on NCCL; and encoding in half precision."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import xmodal
from xmodal.export.formats import export

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
DEVICE = "cuda"
ROOT = Path(__file__).parents[2]
FORMAT_1 = ROOT / "tests" / "fixtures" / "run_format_1"
# no dropout and no augmentation: two runs take the same steps but for rounding
EXACT = (
    "towers.speech.dropout=0", "data.modalities.speech.augment={}", "train.log_every=1", "train.steps=8",
    "train.trackers=[jsonl]", "evaluators={}",
)  # fmt: skip
FIT = """
import sys
from accelerate import PartialState
from xmodal.config.load import load_config
from xmodal.training.trainer import Trainer

state = PartialState()
print(f"world {state.num_processes} of {state.distributed_type.name} by {state.backend}")
Trainer(load_config(sys.argv[1], sys.argv[2:])).fit()
"""
KILLED = """
import os, signal
from torch.optim.optimizer import register_optimizer_step_post_hook

steps = []


def kill_at_the_third(*_):
    steps.append(1)
    if len(steps) == 3:
        os.kill(os.getpid(), signal.SIGKILL)


register_optimizer_step_post_hook(kill_at_the_third)
"""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1")


def fit(code: str, config: Path, run: Path, *overrides: str, launcher: tuple[str, ...] = ()) -> tuple[int, str]:
    """(exit code, what it printed) of a run into the folder `run`."""
    script = run.with_suffix(".py")
    script.write_text(code)
    command = [sys.executable, *launcher, str(script), str(config), *EXACT, *overrides, f"output={run}"]
    path = os.pathsep.join(x for x in (str(ROOT), os.environ.get("PYTHONPATH")) if x)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=180, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
    return done.returncode, done.stdout


def losses(run: Path) -> list[float]:
    """The loss of every step."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["train/loss"] for row in rows if "train/loss" in row]


def newest_state(run: Path) -> dict[str, Any]:
    """What the newest checkpoint says of where training stands."""
    found = sorted((run / "checkpoints").glob("step-*/state.json"))
    return dict(json.loads(found[-1].read_text()))


def test_half_precision_and_ddp_follow_a_plain_run(tiny_config: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    fit(FIT, tiny_config, plain)
    assert json.loads((plain / "training.json").read_text())["device"].startswith(DEVICE)
    exact = losses(plain)
    assert len(exact) == 8

    for precision in ("bf16", "fp16"):
        fit(FIT, tiny_config, tmp_path / precision, f"train.precision={precision}")
        found = losses(tmp_path / precision)
        assert found[0] == pytest.approx(exact[0], rel=2e-2)  # the same weights, encoded in half precision
        assert found[-1] < found[0]
        assert len(found) == len(exact)

    _, printed = fit(FIT, tiny_config, tmp_path / "ddp", launcher=TORCHRUN)
    assert "world 1 of MULTI_GPU by nccl" in printed
    assert losses(tmp_path / "ddp") == pytest.approx(exact, rel=1e-4)


def test_the_gradient_scaler_survives_a_kill(tiny_config: Path, tmp_path: Path) -> None:
    """fp16 gradients are scaled; the scale is part of a checkpoint, so a run in two parts is one run."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = ["train.precision=fp16", "train.save_every=2"]
    fit(FIT, tiny_config, whole, *settings)
    scaler = newest_state(whole)["scaler"]
    assert scaler["scale"] > 1
    assert fit(KILLED + FIT, tiny_config, parts, *settings)[0] == -signal.SIGKILL
    assert 0 < newest_state(parts)["step"] < newest_state(whole)["step"]
    fit(FIT, tiny_config, parts, *settings, "train.resume=true")
    assert newest_state(parts)["scaler"] == scaler
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-3)


@pytest.mark.parametrize("run", ["speech", "store", "images"])
def test_encoding_in_half_precision(run: str) -> None:
    """Against what a CPU gave in fp32: cosines near 1, and in fp32 on the card nearer still."""
    tensors = load_file(FORMAT_1 / f"{run}.safetensors")
    key = "image" if run == "images" else "speech_8000"
    modality, _, rate = key.partition("_")
    items = [tensors[f"{key}.{n}"].numpy() for n in range(len(tensors[key]))]
    for dtype, least in (("fp32", 0.99999), ("bf16", 0.999), ("fp16", 0.9999)):
        encoder = xmodal.load(FORMAT_1 / run, device=DEVICE, dtype=dtype)
        z = encoder.encode(modality, items, sample_rate=int(rate) if rate else None)
        assert z.dtype == torch.float32
        assert z.device.type == "cpu"
        torch.testing.assert_close(z.norm(dim=1), torch.ones(len(z)), rtol=0, atol=1e-5)
        assert float((z * tensors[key]).sum(1).min()) > least, dtype


def test_an_export_leaves_the_model_on_the_card(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    encoder = xmodal.load(FORMAT_1 / "speech", device=DEVICE)
    export(encoder, tmp_path / "out", "onnx")
    devices = {p.device.type for name in encoder.modalities for p in encoder.towers[name].parameters()}
    assert devices == {DEVICE}
