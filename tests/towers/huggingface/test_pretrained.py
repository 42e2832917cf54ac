"""Pretrained models that cannot be had, or not as asked: every failure is one line that names the way out."""

import json

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tiny_models import bert_folder, sentence_folder, whisper_folder

from xmodal.errors import UserError
from xmodal.towers import build_tower
from xmodal.towers.kinds.transformers import TransformersTower


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_errors_are_one_line_that_names_the_way_out(tmp_path):
    bert = tmp_path / "bert"
    bert_folder(bert)
    cases = {
        "nobody/no-such-model": "neither a folder here nor a model",
        "package:no_such_package/model": "pip install no-such-package",
        "package:json/nowhere": "package json has no folder 'nowhere'",
        "./missing/folder": "no such folder",
        str(tmp_path): "has no config.json",
    }
    for name, expected in cases.items():
        with pytest.raises(UserError, match=expected) as error:
            build_tower(TransformersTower.Spec(name=name))
        assert name in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.usefixtures("offline")
def test_a_cached_model_whose_own_pooling_nobody_can_ask_for(tmp_path, monkeypatch):
    """The hub's cache as another program leaves it: modules.json was never asked for."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    bert_folder(tmp_path / "models--some--model" / "snapshots" / commit)
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text(commit)
    with pytest.raises(UserError, match="set pooling"):
        build_tower(TransformersTower.Spec(name="some/model"))
    assert build_tower(TransformersTower.Spec(name="some/model", pooling="mean"))[0].width == 32
    asked = tmp_path / "models--some--model" / ".no_exist" / commit
    asked.mkdir(parents=True)
    (asked / "modules.json").touch()  # the hub said: there is none
    assert build_tower(TransformersTower.Spec(name="some/model"))[1].pooling == "mean"


def test_pickled_weights_are_refused(tmp_path):
    bert_folder(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no \*\.safetensors weights, and pickled ones are never loaded"):
        build_tower(TransformersTower.Spec(name=str(tmp_path)))


def test_weights_of_another_model_are_refused(tmp_path):
    bert_folder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"its weights lack encoder\.layer\.2"):
        build_tower(TransformersTower.Spec(name=str(tmp_path)))


def test_what_is_no_encoder_known_here(tmp_path):
    config = transformers.MobileViTConfig(hidden_sizes=[8, 8, 8], neck_hidden_sizes=[8] * 7, num_hidden_layers=1)
    transformers.MobileViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"an encoder of neither text, speech nor images.*known here"):
        build_tower(TransformersTower.Spec(name=str(tmp_path)))


def test_poolings_and_modules_that_do_not_exist(tmp_path):
    whisper = whisper_folder(tmp_path / "whisper")
    with pytest.raises(UserError, match="pooling 'cls'"):
        build_tower(TransformersTower.Spec(name=whisper, pooling="cls"))
    with pytest.raises(UserError, match="max_length counts tokens"):
        build_tower(TransformersTower.Spec(name=whisper, max_length=5))
    folder = sentence_folder(tmp_path / "st", "max")
    with pytest.raises(UserError, match="its own pooling is max; set pooling"):
        build_tower(TransformersTower.Spec(name=folder))
    build_tower(TransformersTower.Spec(name=folder, pooling="mean"))
    modules = json.loads((tmp_path / "st" / "modules.json").read_text())
    modules[-1]["type"] = "somewhere.LayerNorm"
    (tmp_path / "st" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="lists Transformer, Pooling, LayerNorm"):
        build_tower(TransformersTower.Spec(name=folder, pooling="mean"))
