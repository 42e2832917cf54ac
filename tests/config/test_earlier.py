"""Keys that a run's config lacks mean what they meant when it was written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from tiny_models import whisper_folder

import xmodal
from xmodal.config.earlier import fill_in
from xmodal.config.load import config_differences, dump_config, load_config
from xmodal.runs.folder import open_run, read_run
from xmodal.runs.weights import FILE
from xmodal.towers import build_tower, save_tower
from xmodal.towers.kinds.transformers import TransformersTower


def config(folder: Path, **tower: Any) -> dict[str, Any]:
    speech = {"kind": "transformers", "name": str(folder / "whisper"), "head": {"kind": "linear", "dim": 8}, **tower}
    text = {"kind": "transformers", "name": "openai/clip", "side": "text"}
    towers = {"speech": speech, "text": text, "image": {"kind": "timm", "name": "resnet18"}}
    return {"output": str(folder / "run"), "data": {"train": "train.csv"}, "towers": towers}


def test_only_speech_towers_that_say_nothing_get_the_old_window() -> None:
    found = config(Path("x"))
    found["towers"]["sound"] = {"kind": "store", "path": "y", "tower": dict(found["towers"]["speech"])}
    found["towers"]["own"] = {"kind": "my_package:Tower"}
    found["data"]["modalities"] = {"sound": {"kind": "audio"}, "own": {"kind": "audio"}, "odd": None}
    found["towers"] |= {"odd": None, "audio": {"kind": "no_such_kind"}, "said": dict(found["towers"]["speech"])}
    found["data"]["modalities"]["said"] = {"kind": "audio"}
    found["towers"]["said"]["window"] = "own"
    fill_in(found)
    window = {side: (tower or {}).get("window") for side, tower in found["towers"].items()}
    assert {side: value for side, value in window.items() if value} == {"speech": "cut", "said": "own"}
    assert found["towers"]["sound"]["tower"]["window"] == "cut"
    for broken in ({}, {"towers": None}, {"towers": {"speech": 3}, "data": 3}):
        fill_in(broken)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run as it was written before there was a window: a Whisper that hears its whole window."""
    whisper_folder(tmp_path / "whisper")
    found = config(tmp_path)
    small = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "max_length": 12}
    text = {"kind": "text_encoder", **small, "head": {"kind": "linear", "dim": 8}}
    found |= {"towers": {"speech": found["towers"]["speech"], "text": text}, "pairs": [["speech", "text"]]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(found))
    resolved = load_config(tmp_path / "config.yaml")
    state = {}
    for side, spec in resolved.towers.items():
        tower, processor = build_tower(spec)
        save_tower(spec, tower, processor, tmp_path / "run" / "towers" / side)
        kept = tower.head if spec.is_locked else tower
        prefix = f"towers.{side}.head." if spec.is_locked else f"towers.{side}."
        state |= {prefix + name: value for name, value in kept.state_dict().items()}
    save_file(state, tmp_path / "run" / FILE)
    dumped = yaml.safe_load(dump_config(resolved))
    for key in ("window", "layers", "sha256"):
        del dumped["towers"]["speech"][key]
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(dumped))
    return tmp_path / "run"


def test_an_old_run_gives_what_it_gave(run: Path) -> None:
    assert read_run(run)["towers"]["speech"]["window"] == "cut"
    encoder = xmodal.load(run, device="cpu")
    rng = np.random.default_rng(0)
    waves = [0.3 * rng.standard_normal(n).astype(np.float32) for n in (4000, 40000)]
    spec = TransformersTower.Spec(name=str(run / "towers" / "speech"), window="cut")
    tower, processor = build_tower(spec)
    with torch.no_grad():
        features = tower.features(processor.collate([processor.features(wave) for wave in waves]))
        expected = encoder.towers["speech"].project(features).z
    torch.testing.assert_close(encoder.encode("speech", waves, sample_rate=16000), expected)
    assert encoder.cut == {"speech": 1}


def test_an_old_run_does_not_go_on_with_another_window(run: Path) -> None:
    saved, now = load_config(run / "config.yaml", saved=True), load_config(run.parent / "config.yaml")
    assert config_differences(saved, now) == ["towers.speech.window: cut -> own"]
    asked = load_config(run.parent / "config.yaml", ["train.resume=true"])
    with pytest.raises(
        xmodal.errors.UserError, match=r"cannot resume with another config: towers.speech.window: cut -> own"
    ):
        open_run(asked)
    old = yaml.safe_load((run / "config.yaml").read_text())
    assert old["format"] == 2
    assert load_config(run / "config.yaml").towers["speech"].window == "cut"  # type: ignore[attr-defined]
