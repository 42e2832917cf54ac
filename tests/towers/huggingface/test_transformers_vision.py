"""Image encoders of transformers and the sides of its dual encoders: equal to the library's own features."""

import inspect

import numpy as np
import pytest
import torch
import transformers
from tiny_models import SIZES, TEXTS, batch, check_padding, features, images, rebuilt, tokenizer

from xmodal.errors import UserError
from xmodal.towers import build_tower, save_tower
from xmodal.towers.heads import Linear
from xmodal.towers.kinds.dual_encoder import dual_encoder_specs
from xmodal.towers.kinds.transformers import TransformersTower

VISION = SIZES | {"image_size": 24, "patch_size": 8}
NORMAL = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
SQUASH = {"size": {"height": 24, "width": 24}, **NORMAL}
CROP = {"size": {"shortest_edge": 27}, "crop_size": {"height": 24, "width": 24}, "do_center_crop": True, **NORMAL}
# name -> config, image processor (the library's PIL form: torchvision rounds otherwise), pooling that is the default
ENCODERS = {
    "vit": (transformers.ViTConfig(**VISION), transformers.ViTImageProcessorPil(**SQUASH), "cls"),
    "dinov2": (transformers.Dinov2Config(**VISION, mlp_ratio=2), transformers.BitImageProcessorPil(**CROP), "cls"),
    "registers": (
        transformers.Dinov2WithRegistersConfig(**VISION, mlp_ratio=2, num_register_tokens=3),
        transformers.BitImageProcessorPil(**CROP),
        "cls",
    ),
    "dinov3": (
        transformers.DINOv3ViTConfig(**VISION, num_register_tokens=2),
        transformers.ViTImageProcessorPil(**SQUASH),
        "cls",
    ),
    "siglip": (transformers.SiglipVisionConfig(**VISION), transformers.SiglipImageProcessorPil(**SQUASH), "pooler"),
    "clip": (transformers.CLIPVisionConfig(**VISION), transformers.CLIPImageProcessorPil(**CROP), "pooler"),
}


def saved(folder, model, *parts):
    for part in (model, *parts):
        part.save_pretrained(folder)
    return str(folder)


def pixels(library):
    return library(images=images(), return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize("kind", ENCODERS)
def test_pooled_features_are_the_librarys_and_come_back_offline(kind, tmp_path):
    config, library, pooling = ENCODERS[kind]
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config).eval()
    spec = TransformersTower.Spec(name=saved(tmp_path / kind, model, library))
    tower, processor = build_tower(spec)
    torch.testing.assert_close(batch(processor, images())["pixels"], pixels(library), atol=1e-6, rtol=0)
    with torch.no_grad():
        output = model(pixel_values=pixels(library))
    expected = output.pooler_output if pooling == "pooler" else output.last_hidden_state[:, 0]
    torch.testing.assert_close(features(tower, processor, images()), expected, atol=2e-6, rtol=0)
    patches = output.last_hidden_state[:, -9:]  # 3 x 3, after whatever comes first
    mean, _ = build_tower(spec.model_copy(update={"pooling": "mean"}))
    torch.testing.assert_close(features(mean, processor, images()), patches.mean(1), atol=2e-6, rtol=0)
    again, other = rebuilt(spec, tower, processor, tmp_path / "saved")
    assert torch.equal(features(again, other, images()), features(tower, processor, images()))


def test_the_librarys_torchvision_form_is_a_grey_level_away(tmp_path):
    library = transformers.CLIPImageProcessor(**CROP)
    model = transformers.CLIPVisionModel(ENCODERS["clip"][0])
    _, processor = build_tower(TransformersTower.Spec(name=saved(tmp_path / "clip", model, library)))
    gap = (batch(processor, images())["pixels"] - pixels(library)).abs()
    assert gap.max() <= 1.01 / 255 / 0.2


def clip_tokenizer():
    found = tokenizer()  # [SEP] ends every text: CLIP pools there
    found.model_max_length = 16
    return found


TEXT = SIZES | {
    "vocab_size": 17,
    "max_position_embeddings": 16,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 0,
}
DUALS = {
    "clip": (transformers.CLIPConfig, {"projection_dim": 20}, transformers.CLIPImageProcessorPil(**CROP)),
    "metaclip_2": (transformers.MetaClip2Config, {"projection_dim": 20}, transformers.CLIPImageProcessorPil(**CROP)),
    "siglip": (transformers.SiglipConfig, {}, transformers.SiglipImageProcessorPil(**SQUASH)),
}


def dual(kind, folder):
    make, options, library = DUALS[kind]
    torch.manual_seed(0)
    config = make(text_config=TEXT, vision_config=VISION, **options)
    model = transformers.AutoModel.from_config(config).eval()
    return model, library, saved(folder, model, library, clip_tokenizer())


def embeds(output):
    return output if isinstance(output, torch.Tensor) else output.pooler_output


@pytest.mark.parametrize("kind", DUALS)
def test_both_sides_of_a_dual_encoder(kind, tmp_path):
    model, library, name = dual(kind, tmp_path / kind)
    padding = {"padding": "max_length", "max_length": 16} if kind == "siglip" else {"padding": True}
    tokens = clip_tokenizer()(TEXTS, return_tensors="pt", truncation=True, return_token_type_ids=False, **padding)
    if kind == "siglip":
        tokens.pop("attention_mask")  # its own tokenizer makes none
    with torch.no_grad():
        expected = {
            "visual": embeds(model.get_image_features(pixel_values=pixels(library))),
            "text": embeds(model.get_text_features(**tokens)),
        }
    total = 0
    for side, items in {"visual": images(), "text": TEXTS}.items():
        spec = TransformersTower.Spec(name=name, side=side)
        tower, processor = build_tower(spec)
        assert tower.guides
        torch.testing.assert_close(features(tower, processor, items), expected[side], atol=2e-6, rtol=0)
        assert tower.width == expected[side].shape[1]
        check_padding(tower, processor, items)
        again, other = rebuilt(spec, tower, processor, tmp_path / "saved" / side)
        assert torch.equal(features(again, other, items), features(tower, processor, items))
        total += sum(p.numel() for p in tower.backbone.parameters())
    scales = sum(p.numel() for n, p in model.named_parameters() if "logit" in n)
    assert total == sum(p.numel() for p in model.parameters()) - scales  # each side without the other


@pytest.mark.parametrize("kind", ["dinov2", "dinov3", "siglip"])
def test_every_parameter_of_a_tower_that_trains_has_a_gradient(kind, tmp_path):
    config, library, _ = ENCODERS[kind]
    name = saved(tmp_path / kind, transformers.AutoModel.from_config(config), library)
    for mode in ("unlocked", "scratch"):
        tower, processor = build_tower(TransformersTower.Spec(name=name, mode=mode))
        tower(batch(processor, images())).z[:, 0].sum().backward()
        assert [n for n, p in tower.named_parameters() if p.requires_grad and p.grad is None] == []


def test_locked_stays_bit_identical(tmp_path):
    config, library, _ = ENCODERS["vit"]
    config = transformers.ViTConfig(**config.to_dict() | {"hidden_dropout_prob": 0.5})
    name = saved(tmp_path / "vit", transformers.ViTModel(config), library)
    tower, processor = build_tower(TransformersTower.Spec(name=name, head=Linear.Spec()))
    tower.train()
    before, inputs = tower.fingerprint(), batch(processor, images())
    first = tower(inputs).guide
    optimizer = torch.optim.AdamW(tower.parameters(), lr=0.1, weight_decay=0.5)
    tower(inputs).z[:, 0].sum().backward()
    optimizer.step()
    assert tower.fingerprint() == before
    assert torch.equal(tower(inputs).guide, first)


def test_errors_are_one_line_that_names_the_way_out(tmp_path):
    config, library, _ = ENCODERS["vit"]
    vit = saved(tmp_path / "vit", transformers.ViTModel(config), library)
    bare = saved(tmp_path / "bare", transformers.ViTModel(config))
    odd = transformers.ViTImageProcessorPil(size={"shortest_edge": 24})
    ragged = saved(tmp_path / "ragged", transformers.ViTModel(config), odd)
    _, _, clip = dual("clip", tmp_path / "clip")
    naflex = transformers.Siglip2Config(text_config=TEXT, vision_config=SIZES | {"patch_size": 8, "num_patches": 9})
    naflex_name = saved(tmp_path / "naflex", transformers.Siglip2Model(naflex), library, clip_tokenizer())
    siglip = dual("siglip", tmp_path / "siglip")[2]
    cases = [
        ({"name": vit, "pooling": "last"}, "this image model has auto, cls, mean"),
        ({"name": vit, "max_length": 9}, "max_length counts tokens"),
        ({"name": vit, "side": "visual"}, "none of the dual encoders known here"),
        ({"name": bare}, "preprocessor_config"),
        ({"name": ragged}, "without a centre crop"),
        ({"name": clip}, "a dual encoder .clip.; set side to visual or text"),
        ({"name": clip, "side": "visual", "pooling": "mean"}, "leave pooling out"),
        ({"name": clip, "side": "text", "pooling": "mean"}, "leave pooling out"),
        ({"name": clip, "side": "text", "max_length": 17}, "has 16 positions"),
        ({"name": siglip, "side": "text", "max_length": 8}, "always reads 16"),
        ({"name": naflex_name, "side": "visual"}, "NaFlex"),
    ]
    for settings, expected in cases:
        with pytest.raises(UserError, match=expected) as error:
            build_tower(TransformersTower.Spec(**settings))
        assert "\n" not in str(error.value)
    text = TransformersTower.Spec(name=clip, side="text")
    save_tower(text, *build_tower(text), tmp_path / "text_side")
    library.save_pretrained(tmp_path / "text_side")
    with pytest.raises(UserError, match="holds the text side of a clip model, not the visual side"):
        build_tower(TransformersTower.Spec(name=str(tmp_path / "text_side"), side="visual"))


def test_the_text_side_of_siglip_reads_its_padding(tmp_path):
    _, _, name = dual("siglip", tmp_path / "siglip")
    tower, processor = build_tower(TransformersTower.Spec(name=name, side="text"))
    inputs = batch(processor, ["music"])
    assert set(inputs) == {"input_ids"}
    assert inputs["input_ids"].shape == (1, 16)
    assert np.count_nonzero(inputs["input_ids"]) == 3  # [CLS] music [SEP]
    assert "attention_mask" in inspect.signature(tower.backbone.model.forward).parameters


def whole(kind, folder):
    """A dual encoder of a family that is built whole, saved with an image processor and a tokenizer."""
    torch.manual_seed(0)
    text, vision = TEXT | {"hidden_size": 32}, dict(VISION)
    if kind == "vision-text-dual-encoder":
        bert = transformers.BertConfig(**{k: v for k, v in text.items() if k not in ("bos_token_id", "eos_token_id")})
        config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
            transformers.ViTConfig(**vision), bert, projection_dim=20
        )
    else:
        make = {"chinese_clip": transformers.ChineseCLIPConfig, "blip": transformers.BlipConfig}[kind]
        config = make(text_config=text, vision_config=vision, projection_dim=20)
    model = transformers.AutoModel.from_config(config).eval()
    library = transformers.ViTImageProcessorPil(**SQUASH)
    return model, library, saved(folder, model, library, clip_tokenizer())


@pytest.mark.parametrize("kind", ["vision-text-dual-encoder", "chinese_clip", "blip"])
def test_dual_encoders_that_are_built_whole(kind, tmp_path):
    model, library, name = whole(kind, tmp_path / kind)
    specs = dual_encoder_specs(f"transformers:{name}")
    tower, processor = build_tower(specs["image"])
    with torch.no_grad():
        expected = embeds(model.get_image_features(pixel_values=pixels(library)))
    torch.testing.assert_close(features(tower, processor, images()), expected, atol=2e-6, rtol=0)
    assert tower.width == 20
    texts, words = build_tower(specs["text"])
    tokens = clip_tokenizer()(TEXTS, padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        expected = embeds(
            model.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        )
    torch.testing.assert_close(features(texts, words, TEXTS), expected, atol=2e-6, rtol=0)
    again, other = rebuilt(specs["image"], tower, processor, tmp_path / "saved")
    assert torch.equal(features(again, other, images()), features(tower, processor, images()))
    again, other = rebuilt(specs["text"], texts, words, tmp_path / "saved text")
    assert torch.equal(features(again, other, TEXTS), features(texts, words, TEXTS))
    with pytest.raises(UserError, match="is built whole and stays locked"):
        build_tower(specs["image"].model_copy(update={"mode": "unlocked"}))
