"""A tower out of a finished run: tuned on labelled texts first, then the locked side of another run."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import xmodal
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.towers import build_tower
from xmodal.towers.kinds.run import RunBackbone, RunTower
from xmodal.towers.own.image_encoder import ImageEncoderTower
from xmodal.training.trainer import Trainer


@pytest.fixture
def text_config(tiny_bert: Path, tiny_pairs: Path, tmp_path: Path) -> Path:
    """A text tower alone, a residual head trained by SupCon on labelled texts."""
    path = tmp_path / "text.yaml"
    path.write_text(
        f"""
output: {tmp_path / "text_run"}
data: {{train: {tiny_pairs / "examples.jsonl"}}}
towers:
  text: {{kind: transformers, name: {tiny_bert}, head: {{kind: mlp, hidden: 16, residual: true}}}}
objective: {{kind: supcon, on: [text]}}
optim: {{lr: 1e-2}}
train: {{steps: 10, batch_size: 30, threads: 1, log_every: 2, trackers: [jsonl]}}
"""
    )
    return path


@pytest.fixture
def text_run(text_config: Path, tmp_path: Path) -> Path:
    Trainer(load_config(text_config)).fit()
    return tmp_path / "text_run"


TEXTS = ["play the music now", "stop the alarm it", "something else"]


def test_its_features_are_the_runs_embeddings(text_run: Path) -> None:
    tower, processor = build_tower(RunTower.Spec(path=text_run, side="text"))
    with torch.no_grad():
        z = tower.eval()(processor.collate([processor.features(text) for text in TEXTS])).z
    torch.testing.assert_close(z, xmodal.load(text_run).encode("text", TEXTS))
    assert (tower.locked, tower.guides, tower.width) == (True, True, 32)
    assert not any(parameter.requires_grad for parameter in tower.parameters())


def test_a_tower_whose_weights_lie_channels_last_is_saved(tmp_path: Path) -> None:
    tower, processor = build_tower(ImageEncoderTower.Spec(image_size=8, widths=(8,)), 4)
    assert not all(value.is_contiguous() for value in tower.state_dict().values())
    spec = RunTower.Spec(path=tmp_path / "run", side="image")
    kind = RunTower()
    kind.save(spec, RunBackbone(tower, ImageEncoderTower.Spec(image_size=8, widths=(8,))), processor, tmp_path / "run")
    again, _ = build_tower(spec)
    pixels = {"pixels": torch.randn(2, 3, 8, 8)}
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(pixels).z, tower.eval()(pixels).z)


def test_labels_shaped_it(text_run: Path) -> None:
    losses = [json.loads(line) for line in (text_run / "metrics.jsonl").read_text().splitlines()]
    found = [row["train/loss"] for row in losses if "train/loss" in row]
    assert found[-1] < found[0]


@pytest.mark.parametrize("stored", [True, False])
def test_a_run_over_it_needs_nothing_of_the_first(
    text_run: Path, tiny_config: Path, tmp_path: Path, stored: bool
) -> None:
    tower: dict = {"kind": "run", "path": str(text_run), "side": "text"}
    if stored:
        tower = {"kind": "store", "path": str(tmp_path / "store"), "tower": tower}
    Trainer(load_config(tiny_config, [f"towers.text={json.dumps(tower)}", "train.steps=3", "evaluators={}"])).fit()
    expected = xmodal.load(text_run).encode("text", TEXTS)
    shutil.rmtree(text_run)
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    encoder = xmodal.load(tmp_path / "run")
    torch.testing.assert_close(encoder.encode("text", TEXTS), expected)
    again, _ = build_tower(RunTower.Spec(path=tmp_path / "run" / "towers" / "text", side="text"))
    assert again.width == 32


@pytest.mark.slow
def test_a_run_that_is_not_there_is_trained_first(text_config: Path, tiny_config: Path, tmp_path: Path) -> None:
    tower = {"kind": "run", "path": str(tmp_path / "first"), "side": "text", "config": str(text_config)}
    config = load_config(tiny_config, [f"towers.text={json.dumps(tower)}", "train.steps=2", "evaluators={}"])
    Trainer(config).fit()
    assert (tmp_path / "first" / "model.safetensors").is_file()
    expected = xmodal.load(tmp_path / "first").encode("text", TEXTS)
    torch.testing.assert_close(xmodal.load(tmp_path / "run").encode("text", TEXTS), expected)


def test_what_does_not_fit_is_one_line(text_run: Path, tmp_path: Path) -> None:
    for spec, said in [
        (RunTower.Spec(path=tmp_path / "none", side="text"), "no finished run there; train it, or name the config"),
        (RunTower.Spec(path=text_run, side="speech"), "has no side 'speech'; its towers: text"),
    ]:
        with pytest.raises(UserError, match=said) as error:
            build_tower(spec)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="a finished run's tower stays as it is"):
        RunTower.Spec(path=text_run, side="text", mode="unlocked")
    config = text_run / "config.yaml"
    config.write_text(config.read_text().replace("kind: transformers", "kind: somebody.towers:Theirs"))
    with pytest.raises(UserError, match=r"needs code from outside xmodal \(somebody.towers:Theirs\)"):
        build_tower(RunTower.Spec(path=text_run, side="text"))


def test_a_residual_head_needs_equal_widths(text_config: Path) -> None:
    with pytest.raises(UserError, match=r"head.residual: 32 features cannot be added to 8"):
        Trainer(load_config(text_config, ["towers.text.head.dim=8"]))
