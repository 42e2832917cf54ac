"""Runs whose frozen tower is an ONNX graph: from a store of its vectors, live, and without the graph's own folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from onnx_graphs import KERNEL, RATE, filters, frames_of, waves

import xmodal
from xmodal.commands.cli import main
from xmodal.store import EmbeddingStore
from xmodal.store.ids import content_id

ONNX = "{{kind: onnx, path: {path}, audio: {{sample_rate: %d, shortest: %d}}}}" % (RATE, KERNEL)  # noqa: UP031


MLP = "{kind: mlp, dim: 32}"
OVER_FRAMES = "{kind: transformer, dim: 32, stack: 2, hidden: 16, layers: 1, heads: 2, feed_forward: 16}"


@pytest.mark.parametrize(("stored", "head"), [(True, MLP), (True, OVER_FRAMES), (False, MLP)])
def test_training_on_a_graph_by_the_command(
    tiny_config: Path, tiny_pairs: Path, tmp_path: Path, stored: bool, head: str
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    tower = ONNX.format(path=waves(folder / "a.onnx", save_as_external_data=True, location="w", size_threshold=100))
    head = f"head: {head}"
    speech = (
        f"{{kind: store, path: {tmp_path / 'store'}, tower: {tower}, {head}}}" if stored else f"{tower[:-1]}, {head}}}"
    )
    overrides = [
        f"towers.speech={speech}", "data.modalities={}", "objective.kind=infonce", "train.steps=60", "optim.lr=1e-2",
        "train.trackers=[jsonl]",
    ]  # fmt: skip
    main(["train", str(tiny_config), *overrides])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < 0.9 * losses[0]

    if stored:
        store = EmbeddingStore.open(tmp_path / "store")
        assert len(store.ids) == 60
        manifest = [json.loads(line) for line in (tiny_pairs / "train.jsonl").read_text().splitlines()]
        for row in manifest[:3]:
            wave = torch.from_numpy(soundfile.read(tiny_pairs / row["speech"], dtype="float32")[0])
            item = content_id(row["speech"])
            frames = frames_of(wave, filters())
            if store.sequences:
                found = torch.from_numpy(np.asarray(store.frames(item), np.float32))
                torch.testing.assert_close(found, frames, rtol=2e-3, atol=2e-3)  # rows are fp16
                continue
            found = store.rows(np.array([item]))[0]
            torch.testing.assert_close(torch.from_numpy(found), frames.mean(0), rtol=1e-4, atol=1e-5)

    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    assert {each.name for each in (tmp_path / "run" / "towers" / "speech").iterdir()} == {"model.onnx", "w"}
    encoder = xmodal.load(tmp_path / "run")
    paths = sorted(tiny_pairs.glob("*_5.wav"))
    z = encoder.encode("speech", paths)
    assert z.shape == (12, 32)
    one = torch.cat([encoder.encode("speech", [path]) for path in paths])
    torch.testing.assert_close(one, z, rtol=1e-4, atol=1e-5)
