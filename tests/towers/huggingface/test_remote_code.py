"""Code that comes with a model runs where it is trusted, and nowhere else."""

import json

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import TEXTS, WORDS, embed, tokenizer

from xmodal.errors import UserError
from xmodal.towers import build_tower, local_spec, runs_code, save_tower, without_code
from xmodal.towers.kinds.transformers import TransformersTower

CONFIG = """
from transformers import PretrainedConfig


class OwnConfig(PretrainedConfig):
    model_type = "own_of_a_test"

    def __init__(self, hidden_size=8, vocab_size=16, **kwargs):
        self.hidden_size, self.vocab_size = hidden_size, vocab_size
        super().__init__(**kwargs)
"""
MODEL = """
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from .configuration_own import OwnConfig

MARK = Path({mark!r})
MARK.touch()


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids, attention_mask=None):
        return BaseModelOutput(last_hidden_state=self.embed(input_ids))
"""


@pytest.fixture(scope="module", autouse=True)
def modules(tmp_path_factory):
    """Where transformers copies such code to, and imports it from."""
    with pytest.MonkeyPatch.context() as patch:
        modules = tmp_path_factory.mktemp("modules")
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
        yield


@pytest.fixture
def folder(tmp_path):
    """A model whose code lies beside its weights; running it leaves a mark."""
    made = tmp_path / "own_code"
    made.mkdir()
    (made / "configuration_own.py").write_text(CONFIG)
    (made / "modeling_own.py").write_text(MODEL.format(mark=str(tmp_path / "ran")))
    config = {
        "model_type": "own_of_a_test", "hidden_size": 8, "vocab_size": len(WORDS), "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"},
    }  # fmt: skip
    (made / "config.json").write_text(json.dumps(config))
    tokenizer().save_pretrained(made)
    torch.manual_seed(0)
    save_file({"embed.weight": torch.randn(len(WORDS), 8)}, made / "model.safetensors", {"format": "pt"})
    return made


def test_it_is_refused_without_trust_and_loaded_with_it(folder, tmp_path):
    refused = TransformersTower.Spec(name=str(folder))
    with pytest.raises(UserError, match=r"own_code.*code of its own.*trust_remote_code"):
        build_tower(refused)
    assert not (tmp_path / "ran").exists()
    trusted = TransformersTower.Spec(name=str(folder), trust_remote_code=True)
    tower, processor = build_tower(trusted)
    assert (tmp_path / "ran").exists()
    weights = tower.backbone.model.embed.weight
    ids = torch.from_numpy(processor.features("turn on"))
    expected = torch.nn.functional.normalize(weights[ids].mean(0, keepdim=True), dim=-1)
    torch.testing.assert_close(embed(tower, processor, ["turn on"]), expected)
    assert (runs_code(refused), runs_code(trusted)) == (False, True)
    assert without_code(trusted) == refused


def test_a_saved_tower_takes_its_code_along_and_asks_again(folder, tmp_path):
    spec = TransformersTower.Spec(name=str(folder), trust_remote_code=True)
    tower, processor = build_tower(spec)
    save_tower(spec, tower, processor, tmp_path / "saved")
    local = local_spec(spec, tmp_path / "saved")
    again, other = build_tower(local)
    assert torch.equal(embed(again, other, TEXTS), embed(tower, processor, TEXTS))
    (tmp_path / "ran").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"saved.*code of its own.*trust_remote_code"):
        build_tower(without_code(local))
    assert not (tmp_path / "ran").exists()
