"""A whole dual encoder by its name: both specs, and clear lines for what is none."""

import pytest
import transformers
from tiny_models import bert_folder

from xmodal.errors import UserError
from xmodal.towers.kinds.dual_encoder import dual_encoder_specs
from xmodal.towers.kinds.open_clip import OpenCLIPTower
from xmodal.towers.kinds.transformers import TransformersTower


def test_open_clip_names():
    for name, (model, tag) in {
        "ViT-B-32@laion2b_s34b_b79k": ("ViT-B-32", "laion2b_s34b_b79k"),
        "hf-hub:laion/some-model": ("hf-hub:laion/some-model", None),
        "tiny.json@weights/tiny.safetensors": ("tiny.json", "weights/tiny.safetensors"),
    }.items():
        specs = dual_encoder_specs(f"open_clip:{name}")
        assert specs["image"] == OpenCLIPTower.Spec(name=model, pretrained=tag, side="visual")
        assert specs["text"] == OpenCLIPTower.Spec(name=model, pretrained=tag, side="text")


def test_transformers_folders(tmp_path):
    for kind, make in {"clip": transformers.CLIPConfig, "siglip": transformers.SiglipConfig}.items():
        make().save_pretrained(tmp_path / kind)
        specs = dual_encoder_specs(f"transformers:{tmp_path / kind}")
        assert specs["image"] == TransformersTower.Spec(name=str(tmp_path / kind), side="visual")
        assert specs["text"] == TransformersTower.Spec(name=str(tmp_path / kind), side="text")


def test_errors_are_one_line_that_names_the_way_out(tmp_path):
    transformers.Siglip2Config().save_pretrained(tmp_path / "naflex")
    cases = {
        "ViT-B-32": "expected open_clip:NAME",
        "open_clip:": "expected open_clip:NAME",
        f"transformers:{bert_folder(tmp_path / 'bert')}": "'bert' has no visual and no text side .*clip, metaclip_2",
        f"transformers:{tmp_path / 'naflex'}": "'siglip2' has no visual side",
        "transformers:./nowhere": "no such folder",
    }
    for name, expected in cases.items():
        with pytest.raises(UserError, match=expected) as error:
            dual_encoder_specs(name)
        assert "\n" not in str(error.value)
