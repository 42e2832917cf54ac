"""The objective in CONTRIBUTING.md is a whole one: run as it stands there, against a loop, and from YAML."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from dense_reference import embeddings, unit

from xmodal.config.load import load_config
from xmodal.training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The example as a module of somebody's."""
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "vse_pp_example.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("vse_pp_example")
    sys.modules.pop("vse_pp_example")


def test_it_is_the_papers_loop(module):
    a, k = unit(7, 5, 1, True), unit(7, 5, 2, True)
    speech, text = [0, 0, 2, 3, 4, 5, 6], [0, 1, 2, 3, 3, 5, 6]
    found = module.VSEPP(margin=0.3)(embeddings(a, k, k, speech, text), "speech", "text")
    total = torch.zeros((), dtype=torch.float64)
    for i in range(7):
        others = [j for j in range(7) if speech[i] != speech[j] and text[i] != text[j]]
        total = total + (0.3 + max(a[i] @ k[j] for j in others) - a[i] @ k[i]).clamp(min=0) / 7
    torch.testing.assert_close(found.value, total)
    torch.testing.assert_close(torch.autograd.grad(found.value, (a, k)), torch.autograd.grad(total, (a, k)))


def test_it_trains_from_yaml_as_a_term(module, tiny_config: Path, tmp_path: Path):
    terms = "objective={align: {kind: cwcl}, hard: {kind: 'vse_pp_example:VSEPP', weight: 0.5, margin: 0.1}}"
    overrides = [terms, "train.steps=3", "train.log_every=1", "evaluators={}", "train.trackers=[jsonl]"]
    Trainer(load_config(tiny_config, overrides)).fit()
    assert "train/hard/loss" in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_every_file_it_names_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:xmodal|tests|docs|configs)/[\w./]+\.(?:py|md|yaml))`", text))
    assert named
    assert not [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
