"""timm's towers: equal to the model without its classifier behind timm's own transform, and never unpickled."""

import json

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from timm.models import save_for_hf
from tiny_models import batch, features, images, rebuilt

from xmodal.errors import UserError
from xmodal.towers import build_tower, local_spec, save_tower
from xmodal.towers.heads import Linear
from xmodal.towers.kinds.timm import TimmTower

VIT = {"patch_size": 4, "depth": 2, "embed_dim": 32, "num_heads": 2}


def weights_of(model, path):
    save_file({n: v.contiguous() for n, v in model.state_dict().items()}, path)
    return path


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("vit_tiny_patch16_224", 32, VIT),
        ("vit_base_patch16_clip_224", 32, VIT),
        ("test_resnet", None, {}),
        ("test_efficientnet", 64, {}),
        ("test_convnext", None, {"drop_path_rate": 0.1}),
    ],
)
def test_features_are_the_librarys_and_come_back_offline(name, size, options, tmp_path, monkeypatch):
    torch.manual_seed(0)
    sized = {"img_size": size} if name.startswith("vit") else {}
    model = timm.create_model(name, num_classes=7, **sized, **options).eval()
    data = resolve_model_data_config(model, args={"input_size": (3, size, size)} if size else {})
    spec = TimmTower.Spec(
        name=name, weights=weights_of(model, tmp_path / "w.safetensors"), image_size=size, options=options
    )
    tower, processor = build_tower(spec)
    pixels = torch.stack([create_transform(**data)(image) for image in images()])
    assert torch.equal(batch(processor, images())["pixels"], pixels)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(pixels), pre_logits=True)
    found = features(tower, processor, images())
    assert found.shape[1] == tower.width
    torch.testing.assert_close(found, expected)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    again, other = rebuilt(spec, tower, processor, tmp_path / "towers" / "image")
    assert torch.equal(features(again, other, images()), found)
    reread = timm.create_model(f"local-dir:{tmp_path / 'towers' / 'image'}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(reread(pixels), found)


def test_a_folder_as_the_hub_has_them(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=5).eval()
    save_for_hf(model, tmp_path / "saved", safe_serialization=True)
    tower, processor = build_tower(TimmTower.Spec(name=str(tmp_path / "saved")))
    pixels = batch(processor, images())["pixels"]
    assert processor.size == (160, 160)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(features(tower, processor, images()), expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", VIT),
        ("convnext_atto", {"patch_size": 2, "depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
        ("resnet10t", {"stem_width": 8, "channels": (16, 32, 64, 128)}),
    ],
)
def test_small_models_train_on_small_images_and_come_back_from_the_runs_own_weights(name, options, tmp_path):
    spec = TimmTower.Spec(name=name, mode="scratch", image_size=32, options=options, head=Linear.Spec(dim=6))
    tower, processor = build_tower(spec)
    assert (processor.size, processor.scale) == ((32, 32), (32, 32))  # no margin is cropped off
    tower(batch(processor, images())).z[:, 0].sum().backward()
    assert all(p.grad is not None for p in tower.parameters())
    save_tower(spec, tower, processor, tmp_path / "image")
    assert not (tmp_path / "image" / "model.safetensors").exists()
    again, other = build_tower(local_spec(spec, tmp_path / "image"))
    again.load_state_dict(tower.state_dict())
    assert torch.equal(features(again, other, images()), features(tower, processor, images()))
    assert processor.describe() == other.describe()


def test_locked_stays_bit_identical_and_in_evaluation_mode(tmp_path):
    weights = weights_of(timm.create_model("test_resnet"), tmp_path / "w.safetensors")
    tower, processor = build_tower(TimmTower.Spec(name="test_resnet", weights=weights, head=Linear.Spec()))
    tower.train()
    before, pixels = tower.fingerprint(), batch(processor, images())
    optimizer = torch.optim.AdamW(tower.parameters(), lr=0.1, weight_decay=0.5)
    tower(pixels).z[:, 0].sum().backward()
    optimizer.step()
    tower(pixels)
    assert not any(module.training for module in tower.backbone.modules())
    assert tower.fingerprint() == before


def test_errors_are_one_line_that_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    torch.save({}, tmp_path / "w.pt")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    (tmp_path / "pickled").mkdir()
    torch.save({}, tmp_path / "pickled" / "pytorch_model.bin")
    (tmp_path / "pickled" / "config.json").write_text(json.dumps({"architecture": "test_vit", "pretrained_cfg": {}}))
    wrong = weights_of(timm.create_model("test_vit"), tmp_path / "wrong.safetensors")
    cases = [
        ({"name": "resnet8"}, "no such model; nearest: .*resnet18"),
        ({"name": "test_resnet", "weights": tmp_path / "w.pt"}, "pickled weights are never loaded"),
        ({"name": "test_resnet", "weights": tmp_path / "no.safetensors"}, "no such file"),
        ({"name": "test_resnet", "weights": tmp_path / "junk.safetensors"}, "timm cannot build it"),
        ({"name": "test_resnet", "weights": wrong}, "wrong.safetensors: Missing keys"),
        ({"name": str(tmp_path / "pickled")}, "has no model.safetensors; pickled"),
        ({"name": "./nowhere"}, "no such folder"),
        ({"name": "test_resnet"}, "neither in the hub's cache nor"),
        ({"name": "hf-hub:nobody/nothing"}, "neither in the hub's cache nor"),
        ({"name": "test_resnet", "mode": "scratch", "options": {"depht": 3}}, "options .'depht': 3.: .*unexpected"),
    ]
    for settings, expected in cases:
        with pytest.raises(UserError, match=expected) as error:
            build_tower(TimmTower.Spec(**settings))
        assert "\n" not in str(error.value)
