"""Kinds of towers: somebody else's in forty lines, trained, saved and rebuilt; whereabouts; versions."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import xmodal
from xmodal.config.kinds import TOWERS
from xmodal.config.load import load_config
from xmodal.errors import UserError
from xmodal.towers import build_tower, local_spec, save_tower, versions_of
from xmodal.towers.kinds.open_clip import OpenCLIPTower
from xmodal.towers.kinds.store import StoreTower
from xmodal.towers.kinds.timm import TimmTower
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.own.text_encoder import TextEncoderTower
from xmodal.towers.weights import save_backbone
from xmodal.training.trainer import Trainer

THEIRS = """
import numpy as np
import torch
from torch import nn

from xmodal.processor import Processor
from xmodal.towers import OwnTower


class Letters(Processor):
    kind = "text"

    def features(self, item):
        return np.array([ord(letter) % 32 for letter in item] or [0])

    def collate(self, features):
        counts = [np.bincount(x, minlength=32) for x in features]
        return {"counts": torch.tensor(np.array(counts), dtype=torch.float32)}

    def describe(self):
        return {"kind": "letters"}


class Bag(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.map = nn.Linear(32, width)

    def forward(self, inputs):
        return torch.tanh(self.map(inputs["counts"]))


class LetterTower(OwnTower):
    class Spec(OwnTower.Spec):
        width: int = 8

    def make(self, spec):
        return Bag(spec.width), Letters()


class Lacking(LetterTower):
    def make(self, spec):
        return Bag(spec.width), object()


class NoTower:
    class Spec(OwnTower.Spec):
        pass
"""


@pytest.fixture
def their_package(tmp_path, monkeypatch):
    (tmp_path / "their_towers.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("their_towers", None)


def test_a_tower_of_somebody_elses_trains_and_is_loaded(their_package, tiny_config):
    text = re.sub(r"  text: .*\n", "  text: {kind: 'their_towers:LetterTower', width: 6}\n", tiny_config.read_text())
    tiny_config.write_text(text.replace("objective: {kind: cwcl}", "objective: {kind: infonce}"))
    config = load_config(tiny_config)
    assert config.towers["text"].width == 6
    trainer = Trainer(config)
    trainer.fit()
    encoder = xmodal.load(config.output, trust_remote_code=True)
    trained = trainer.aligner.tower("text")
    texts = ["turn on the lights", "music"]
    inputs = encoder.processors["text"].collate([encoder.processors["text"].features(text) for text in texts])
    with torch.no_grad():
        torch.testing.assert_close(encoder.encode("text", texts), trained.eval()(inputs).z)


def test_its_weights_are_kept_where_it_is_locked(their_package):
    kind = TOWERS.find("their_towers:LetterTower")
    torch.manual_seed(0)
    tower, processor = build_tower(kind.Spec())
    locked = kind.Spec(mode="locked", weights=their_package / "text")
    save_tower(locked, tower, processor, their_package / "text")
    again, _ = build_tower(local_spec(locked, their_package / "text"))
    assert again.locked
    assert again.fingerprint() == tower.fingerprint()


@pytest.mark.parametrize(
    ("kind", "message"),
    [("Lacking", "its processor, a object, has no kind, .*derive it from xmodal.processor"), ("NoTower", "TowerKind")],
)
def test_what_it_lacks_is_said(their_package, kind, message):
    spec = TOWERS.spec(f"their_towers:{kind}")(kind=f"their_towers:{kind}")
    with pytest.raises(UserError, match=message):
        build_tower(spec)


def test_an_unknown_setting_of_its_is_told_as_of_our_own(their_package, tiny_config):
    text = re.sub(r"  text: .*\n", "  text: {kind: 'their_towers:LetterTower', widht: 6}\n", tiny_config.read_text())
    tiny_config.write_text(text)
    with pytest.raises(UserError, match=r"towers\.text\.widht: unknown key; did you mean towers\.text\.width"):
        load_config(tiny_config)


def test_whereabouts_are_marked_in_the_specs():
    assert TransformersTower.Spec.whereabouts() == {"mode", "unfreeze_after", "name", "revision", "sha256"}
    assert OpenCLIPTower.Spec.whereabouts() == {"mode", "unfreeze_after", "name", "pretrained"}
    assert TimmTower.Spec.whereabouts() == {"mode", "unfreeze_after", "name", "weights"}
    assert TextEncoderTower.Spec.whereabouts() == {"mode", "unfreeze_after", "weights"}
    assert StoreTower.Spec.whereabouts() == {"path"}


def test_settings_do_not_change_with_whereabouts():
    one = TransformersTower.Spec(name="a", revision="1", pooling="cls")
    other = TransformersTower.Spec(name="/elsewhere", pooling="cls")
    assert one.settings() == other.settings()
    assert one.settings() != TransformersTower.Spec(name="a", pooling="mean").settings()


def test_versions_are_those_of_the_library_that_made_the_features():
    timm = TimmTower.Spec(name="resnet18")
    assert list(versions_of([timm])) == ["xmodal", "torch", "timm"]
    assert "open_clip_torch" in versions_of([OpenCLIPTower.Spec(name="ViT-B-32", side="text")])
    assert "transformers" in versions_of([StoreTower.Spec(path="s", tower=TransformersTower.Spec(name="a"))])
    assert list(versions_of([TextEncoderTower.Spec()])) == ["xmodal", "torch"]


def test_reading_kinds_imports_no_library_of_models():
    """Seconds of import that a run pays only for the towers it has."""
    code = """
import sys
import xmodal.towers
from xmodal.config.kinds import HEADS, TOWERS
for registry in (HEADS, TOWERS):
    for kind in registry.own:
        registry.spec(kind)
heavy = ("transformers", "open_clip", "timm", "peft", "torchvision", "sklearn", "huggingface_hub")
print([name for name in heavy if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_an_own_tower_takes_low_rank_updates(tmp_path):
    """What a kind inherits: LoRA in a locked encoder of ours, whose own weights come back."""
    torch.manual_seed(0)
    small = {"width": 8, "layers": 1, "heads": 2, "feed_forward": 16}
    start, processor = build_tower(TextEncoderTower.Spec(**small))
    save_backbone(start.backbone, tmp_path / "run")
    spec = TextEncoderTower.Spec(**small, mode="locked", weights=tmp_path / "run", lora={"rank": 2})
    tower, _ = build_tower(spec)
    assert not spec.is_locked
    inputs = processor.collate([processor.features(text) for text in ("a", "bc")])
    np.testing.assert_allclose(
        tower.eval().features(inputs).detach(), start.eval().features(inputs).detach(), atol=1e-6
    )
    save_tower(spec, tower, processor, tmp_path / "towers" / "text")
    again, _ = build_tower(local_spec(spec, tmp_path / "towers" / "text"))
    trained = {name for name, p in tower.named_parameters() if p.requires_grad and name.startswith("backbone.")}
    fixed = {name for name in tower.state_dict() if tower.fixed(name)}
    assert trained
    assert trained.isdisjoint(fixed)
    for name in fixed:
        assert torch.equal(again.state_dict()[name], tower.state_dict()[name])
