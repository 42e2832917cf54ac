"""open_clip's towers: equal to its own encode_image and encode_text, one side at a time, and never unpickled."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch
from open_clip.push_to_hf_hub import save_config_for_hf
from open_clip.transform import image_transform_v2
from safetensors.torch import save_file
from tiny_models import SIZES, TEXT, TEXTS, VISION, batch, bert_folder, features, images, open_clip_files, rebuilt

from xmodal.errors import UserError
from xmodal.towers import build_tower, local_spec, save_tower
from xmodal.towers.heads import Linear
from xmodal.towers.kinds.open_clip import OpenCLIPTower

COCA = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1, "mlp_ratio": 2}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8, "patch_size": None}
TIMM = {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear", "image_size": 160}
MODELS = {
    "clip": {},
    "custom": {"custom_text": True, "quick_gelu": True, "init_logit_bias": -10.0},
    "wide": {"vision_cfg": VISION | {"image_size": [32, 48]}},
    "resnet": {"vision_cfg": RESNET},
    "timm": {"vision_cfg": TIMM},
    "coca": {
        "multimodal_cfg": COCA,
        "vision_cfg": VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True, "vocab_size": 49409},
        "custom_text": True,
    },
}


def theirs(model, name, side):
    with torch.no_grad():
        if side == "text":
            return model.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=False)
        transform = image_transform_v2(open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), False)
        return model.encode_image(torch.stack([transform(image) for image in images()]), normalize=False)


@pytest.mark.parametrize("kind", MODELS)
def test_both_sides_are_the_librarys_and_come_back_offline(kind, tmp_path, monkeypatch):
    config, weights, model = open_clip_files(tmp_path / kind, **MODELS[kind])
    for side in ("visual", "text") if kind in ("clip", "custom", "coca") else ("visual",):
        spec = OpenCLIPTower.Spec(name=config, pretrained=weights, side=side)
        items = TEXTS if side == "text" else images()
        state = torch.random.get_rng_state()
        tower, processor = build_tower(spec)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert tower.guides
        assert processor.kind == ("text" if side == "text" else "image")
        found = features(tower, processor, items)
        expected = theirs(model, f"tiny_{kind}", side)
        assert found.shape[1] == tower.width
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        again, other = rebuilt(spec, tower, processor, tmp_path / "towers" / side)
        assert torch.equal(features(again, other, items), found)


def test_only_the_side_asked_for_is_kept(tmp_path):
    config, weights, model = open_clip_files(tmp_path / "sides")
    sizes = {}
    for side in ("visual", "text"):
        tower, _ = build_tower(OpenCLIPTower.Spec(name=config, pretrained=weights, side=side))
        sizes[side] = sum(p.numel() for p in tower.backbone.parameters())
    assert sizes["visual"] == sum(p.numel() for p in model.visual.parameters())
    assert sum(sizes.values()) == sum(p.numel() for p in model.parameters()) - 1  # without logit_scale


def test_a_text_side_of_transformers_with_its_own_tokenizer(tmp_path):
    bert = bert_folder(tmp_path / "bert")
    text = {"hf_model_name": bert, "hf_tokenizer_name": bert, "hf_pooler_type": "mean_pooler", "context_length": 16}
    config, weights, model = open_clip_files(tmp_path / "hf", text_cfg=text)
    spec = OpenCLIPTower.Spec(name=config, pretrained=weights, side="text")
    tower, processor = build_tower(spec)
    expected = theirs(model, "tiny_hf", "text")
    torch.testing.assert_close(features(tower, processor, TEXTS), expected, atol=1e-6, rtol=1e-6)
    save_tower(spec, tower, processor, tmp_path / "towers" / "text")
    for path in (tmp_path / "bert").iterdir():
        path.unlink()
    again, other = build_tower(local_spec(spec, tmp_path / "towers" / "text"))
    torch.testing.assert_close(features(again, other, TEXTS), expected, atol=1e-6, rtol=1e-6)
    assert processor.describe() == other.describe()
    assert tower.width == 24
    assert SIZES["hidden_size"] == 32  # so the projection is there


def test_open_clips_crashing_pooler_is_refused(tmp_path):
    bert = bert_folder(tmp_path / "bert")
    text = {"hf_model_name": bert, "hf_tokenizer_name": bert, "hf_pooler_type": "max_pooler", "context_length": 16}
    config, weights, _ = open_clip_files(tmp_path / "pooler", text_cfg=text)
    with pytest.raises(UserError, match="max_pooler fails"):
        build_tower(OpenCLIPTower.Spec(name=config, pretrained=weights, side="text"))
    build_tower(OpenCLIPTower.Spec(name=config, pretrained=weights, side="visual"))


def test_locked_stays_bit_identical_and_in_evaluation_mode(tmp_path):
    config, weights, _ = open_clip_files(tmp_path / "locked", vision_cfg=RESNET)  # BatchNorm
    tower, processor = build_tower(
        OpenCLIPTower.Spec(name=config, pretrained=weights, side="visual", head=Linear.Spec())
    )
    tower.train()
    pixels, before = batch(processor, images()), tower.fingerprint()
    optimizer = torch.optim.AdamW(tower.parameters(), lr=0.1, weight_decay=0.5)
    first = tower(pixels).guide
    tower(pixels).z[:, 0].sum().backward()
    optimizer.step()
    assert not any(module.training for module in tower.backbone.modules())
    assert torch.equal(tower(pixels).guide, first)
    assert tower.fingerprint() == before


@pytest.mark.parametrize("mode", ["unlocked", "scratch"])
@pytest.mark.parametrize("side", ["visual", "text"])
def test_what_trains_comes_back_from_the_runs_own_weights(tmp_path, mode, side):
    config, weights, _ = open_clip_files(tmp_path / f"{mode}_{side}")
    spec = OpenCLIPTower.Spec(name=config, pretrained=weights if mode == "unlocked" else None, side=side, mode=mode)
    tower, processor = build_tower(spec)
    items = TEXTS if side == "text" else images()
    tower(batch(processor, items)).z[:, 0].sum().backward()
    assert all(p.grad is not None for p in tower.parameters())  # DDP refuses parameters without a gradient
    save_tower(spec, tower, processor, tmp_path / "towers" / side)
    again, other = build_tower(local_spec(spec, tmp_path / "towers" / side))
    again.load_state_dict(tower.state_dict())
    assert torch.equal(features(again, other, items), features(tower, processor, items))


def test_a_folder_as_the_hub_has_them(tmp_path):
    config, weights, model = open_clip_files(tmp_path / "hub")
    (tmp_path / "saved").mkdir()
    save_config_for_hf(model, tmp_path / "saved" / "open_clip_config.json", open_clip.get_model_config("tiny_hub"))
    shutil.copy(weights, tmp_path / "saved" / "open_clip_model.safetensors")
    spec = OpenCLIPTower.Spec(name=str(tmp_path / "saved"), side="visual")
    tower, processor = build_tower(spec)
    torch.testing.assert_close(features(tower, processor, images()), theirs(model, "tiny_hub", "visual"))
    with pytest.raises(UserError, match="have their own weights"):
        build_tower(spec.model_copy(update={"pretrained": config}))


def test_the_activation_follows_the_tag(tmp_path, monkeypatch):
    """ViT-B-32 is a GELU model by name; OpenAI's weights for it were trained with QuickGELU."""
    from xmodal.towers.openclip import source as open_clip_source

    monkeypatch.setattr(open_clip_source, "hub_file", lambda name, repository, file, absent: tmp_path / file)
    for tag, quick in {"openai": True, "laion2b_s34b_b79k": False}.items():
        source = open_clip_source.locate(OpenCLIPTower.Spec(name="ViT-B-32", pretrained=tag, side="visual"))
        assert source.model["quick_gelu"] is quick
        assert source.weights.suffix == ".safetensors"
    source = open_clip_source.locate(OpenCLIPTower.Spec(name="ViT-B-16-SigLIP", pretrained="webli", side="visual"))
    assert (source.preprocess["resize_mode"], source.preprocess["mean"]) == ("squash", (0.5, 0.5, 0.5))


def test_errors_are_one_line_that_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    config, weights, model = open_clip_files(tmp_path / "errors")
    _, other, _ = open_clip_files(tmp_path / "other", embed_dim=16)
    torch.save(model.state_dict(), tmp_path / "tiny.pt")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    (tmp_path / "junk.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    cases = [
        ({"name": "ViT-B32"}, "no such model; nearest: ViT-B-32"),
        ({"name": "ViT-B-32"}, "set pretrained to one of openai"),
        ({"name": config}, "set pretrained to a safetensors file"),
        ({"name": "ViT-B-32", "pretrained": "laion3b"}, "neither one of its tags .*laion2b.* nor a file"),
        ({"name": config, "pretrained": str(tmp_path / "tiny.pt")}, "pickled weights are never loaded"),
        ({"name": config, "pretrained": str(tmp_path / "junk.safetensors")}, "cannot be read as safetensors"),
        ({"name": config, "pretrained": other}, "weights of another model"),
        ({"name": config, "pretrained": str(tmp_path / "a.safetensors")}, "weights of another model"),
        ({"name": str(tmp_path / "junk.json"), "pretrained": weights}, "it has no embed_dim, vision_cfg, text_cfg"),
        ({"name": str(tmp_path / "no.json"), "pretrained": weights}, "no such model config"),
        ({"name": str(tmp_path / "empty")}, "has no open_clip_config.json"),
        ({"name": "hf-hub:nobody/nothing"}, "neither in the hub's cache nor"),
        ({"name": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}, "neither in the hub's cache nor"),
    ]
    for settings, expected in cases:
        with pytest.raises(UserError, match=expected) as error:
            build_tower(OpenCLIPTower.Spec(side="visual", **settings))
        assert "\n" not in str(error.value)
    spec = OpenCLIPTower.Spec(name=config, pretrained=weights, side="visual")
    save_tower(spec, *build_tower(spec), tmp_path / "towers" / "image")
    with pytest.raises(UserError, match="holds the visual side alone"):
        build_tower(OpenCLIPTower.Spec(name=str(tmp_path / "towers" / "image"), side="text"))


def test_what_a_config_may_tell_its_tokenizer(tmp_path):
    """A folder from elsewhere must not have `transformers` run its code."""
    bert = bert_folder(tmp_path / "bert")
    text = {"hf_model_name": bert, "hf_tokenizer_name": bert, "hf_pooler_type": "mean_pooler", "context_length": 16}
    config, weights, _ = open_clip_files(tmp_path / "trusting", text_cfg=text)
    content = json.loads(Path(config).read_text())
    content["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    Path(config).write_text(json.dumps(content))
    with pytest.raises(UserError, match="tokenizer_kwargs hold 'trust_remote_code'"):
        build_tower(OpenCLIPTower.Spec(name=config, pretrained=weights, side="text"))


def test_the_fingerprint_tells_activations_apart(tmp_path):
    prints = set()
    for name, quick in (("plain", False), ("quick", True)):
        config, weights, _ = open_clip_files(tmp_path / name, quick_gelu=quick)
        tower, _ = build_tower(OpenCLIPTower.Spec(name=config, pretrained=weights, side="visual"))
        prints.add(tower.fingerprint())
    assert len(prints) == 2
