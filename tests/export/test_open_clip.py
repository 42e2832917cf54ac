"""Runs of two open_clip towers as one of its folders, loaded and run by that library."""

import math
from pathlib import Path

import open_clip
import pytest
import torch
from encoders import encoder_of
from safetensors.torch import load_file, save_file
from tiny_models import bert_folder, images, open_clip_files
from torch.nn import functional as F

from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.export.formats import export
from xmodal.towers.heads import Linear
from xmodal.towers.kinds.open_clip import OpenCLIPTower
from xmodal.towers.kinds.transformers import TransformersTower

TEXTS = ["a photo of a dog", "two cats on a red sofa, asleep"]


def two_sides(folder: Path, **changes: object) -> Encoder:
    config, weights, _ = open_clip_files(folder, **changes)
    specs = {
        side: OpenCLIPTower.Spec(name=config, pretrained=weights, side=name)
        for side, name in {"image": "visual", "text": "text"}.items()
    }
    return encoder_of(None, **specs)


@pytest.mark.parametrize("custom", [False, True])
def test_open_clip_computes_the_same(tmp_path: Path, custom: bool) -> None:
    encoder = two_sides(tmp_path / f"exported_{custom}", custom_text=custom)
    for tower in encoder.towers.values():  # as if both had trained
        with torch.no_grad():
            for parameter in tower.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    [line] = export(encoder, tmp_path / "out", "open_clip")
    assert "where CLIP starts" in line
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")
    with torch.no_grad():
        image = F.normalize(model.eval().encode_image(torch.stack([preprocess(one) for one in images()])), dim=-1)
        text = model.encode_text(tokenizer(TEXTS), normalize=True)
    torch.testing.assert_close(encoder.encode("image", images()), image, atol=1e-4, rtol=0)
    torch.testing.assert_close(encoder.encode("text", TEXTS), text, atol=1e-4, rtol=0)
    assert math.isclose(float(model.logit_scale.detach()), math.log(1 / 0.07), abs_tol=1e-5)


def test_the_scale_of_a_run_on_the_hub_is_the_learned_one(tmp_path: Path) -> None:
    """Such a run is called by its name on the hub, and lies in a folder of the cache."""
    encoder = two_sides(tmp_path / "exported_learned")
    encoder.name, encoder.folder = "hf-hub:jo/clip", tmp_path / "snapshot"
    encoder.folder.mkdir()
    (encoder.folder / "config.yaml").write_text("{output: x, data: {}, towers: {}}")
    save_file({"objective.log_scale": torch.tensor(3.5)}, encoder.folder / "model.safetensors")
    assert export(encoder, tmp_path / "out", "open_clip") == ["logit_scale: exp(3.500), as learned"]
    assert float(load_file(tmp_path / "out" / "open_clip_model.safetensors")["logit_scale"]) == 3.5


def test_what_its_models_cannot_hold_is_one_line(tmp_path: Path) -> None:
    config, weights, _ = open_clip_files(tmp_path / "refused")
    visual = OpenCLIPTower.Spec(name=config, pretrained=weights, side="visual")
    text = visual.model_copy(update={"side": "text"})
    bert = TransformersTower.Spec(name=bert_folder(tmp_path / "bert"))
    refused = {
        "text: .* its backbone is a TextBackbone, .*; use --format onnx$": {"image": visual, "text": bert},
        "image: .* its head is a Linear": {"image": visual.model_copy(update={"head": Linear.Spec()}), "text": text},
        "one image and one text side, and found image": {"image": visual},
    }
    for line, specs in refused.items():
        with pytest.raises(UserError, match=line) as error:
            export(encoder_of(24, **specs), tmp_path / "out", "open_clip")
        assert "\n" not in str(error.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bert", "refused"]
