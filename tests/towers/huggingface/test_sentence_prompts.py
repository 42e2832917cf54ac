"""A sentence-transformers folder's default prompt counts, as that library counts it, and comes back from a run."""

import json
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from tiny_models import TEXTS, check_padding, embed, rebuilt, sentence_folder

from xmodal.errors import UserError
from xmodal.towers import build_tower
from xmodal.towers.kinds.transformers import TransformersTower

PROMPT = "play some music : "


def prompted(folder, pools_prompt=True, pooling="mean", name="query"):
    folder = Path(sentence_folder(folder, pooling))
    prompts = {"prompts": {"query": PROMPT, "document": ""}, "default_prompt_name": name}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    config = json.loads((folder / "1_Pooling" / "config.json").read_text())
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config | {"include_prompt": pools_prompt}))
    return str(folder)


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("pools_prompt", [True, False])
def test_the_default_prompt_against_sentence_transformers(tmp_path, pools_prompt, pooling):
    folder = prompted(tmp_path / "st", pools_prompt, pooling)
    theirs = SentenceTransformer(folder, device="cpu")
    expected = theirs.encode(TEXTS, convert_to_tensor=True)
    spec = TransformersTower.Spec(name=folder)
    tower, processor = build_tower(spec)
    torch.testing.assert_close(embed(tower, processor, TEXTS), expected, atol=1e-5, rtol=0)
    assert processor.describe()["prompt"] == PROMPT
    check_padding(tower, processor, TEXTS)
    if pooling != "lasttoken" and (pooling, pools_prompt) != ("cls", True):
        plain = theirs.encode(TEXTS, convert_to_tensor=True, prompt="")
        assert (plain - expected).abs().max() > 1e-2  # else the test would show nothing
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")
    assert torch.equal(embed(again, other, TEXTS), embed(tower, processor, TEXTS))
    saved = SentenceTransformer(str(tmp_path / "run"), device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(saved, expected, atol=1e-5, rtol=0)


def test_prompts_without_a_default_change_nothing(tmp_path):
    folder = prompted(tmp_path / "st", name=None)
    tower, processor = build_tower(TransformersTower.Spec(name=folder))
    expected = SentenceTransformer(folder, device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(embed(tower, processor, TEXTS), expected, atol=1e-5, rtol=0)
    assert "prompt" not in processor.describe()


def test_a_default_that_is_no_prompt_is_refused(tmp_path):
    folder = prompted(tmp_path / "st", name="passage")
    with pytest.raises(UserError, match=r"default_prompt_name 'passage' is none of its prompts .query, document."):
        build_tower(TransformersTower.Spec(name=folder))
