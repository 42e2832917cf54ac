"""Runs as folders of sentence-transformers, loaded and run by that library."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from encoders import encoder_of
from sentence_transformers import SentenceTransformer
from tiny_models import SIZES, TEXTS, bert_folder, images, sentence_folder
from tiny_speech import ast_folder

from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.export.formats import export
from xmodal.towers.heads import GLU, MLP, Linear
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.lora import LoRA, lora_layers
from xmodal.towers.own.image_encoder import ImageEncoderTower

Spec = TransformersTower.Spec


def vit_folder(folder: Path) -> str:
    torch.manual_seed(0)
    config = transformers.ViTConfig(image_size=32, patch_size=8, **SIZES)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def clip_folder(folder: Path) -> str:
    torch.manual_seed(0)
    clip = transformers.CLIPConfig(
        text_config={**SIZES, "vocab_size": 17, "max_position_embeddings": 12, "eos_token_id": 3, "bos_token_id": 2},
        vision_config={**SIZES, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    transformers.CLIPModel(clip).save_pretrained(folder)
    bert_folder(folder.parent / "tokens")
    transformers.AutoTokenizer.from_pretrained(folder.parent / "tokens").save_pretrained(folder)
    size = {"shortest_edge": 32}
    transformers.CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def exported(encoder: Encoder, out: Path) -> SentenceTransformer:
    export(encoder, out, "sentence-transformers")
    return SentenceTransformer(str(out), device="cpu", local_files_only=True)


def check(encoder: Encoder, model: SentenceTransformer, modality: str, items: list[Any]) -> None:
    ours = encoder.encode(modality, items, output="numpy")
    theirs = model.encode(items, batch_size=3)
    np.testing.assert_allclose(theirs, ours, atol=1e-4, rtol=0)
    assert np.abs(ours[0] - ours[1]).max() > 1e-3  # what the items are matters


def test_texts_and_images_go_to_their_own_modules(tmp_path: Path) -> None:
    batch, layer = MLP.Spec(hidden=20, layers=3, norm="batch", activation="relu"), MLP.Spec(hidden=20, norm="layer")
    text = Spec(name=sentence_folder(tmp_path / "sentence", "mean", dense=28, lowercase=False), head=batch)
    image = Spec(name=vit_folder(tmp_path / "vit"), head=layer)
    encoder = encoder_of(16, image=image, text=text)
    model = exported(encoder, tmp_path / "out")
    check(encoder, model, "image", images())
    check(encoder, model, "text", [text for text in TEXTS if text])
    assert model.get_embedding_dimension() == 16
    assert not list(tmp_path.glob(".out*")), "what it was written in is gone"


def test_the_sides_of_a_dual_encoder_with_low_rank_updates(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "clip")
    specs = {"image": Spec(name=folder, side="visual", lora=LoRA(rank=2)), "text": Spec(name=folder, side="text")}
    encoder = encoder_of(None, **specs)
    with torch.no_grad():
        for layer in lora_layers(encoder.towers["image"].backbone).values():
            layer.lora_B["default"].weight.normal_(0, 0.1)
    model = exported(encoder, tmp_path / "out")
    check(encoder, model, "image", images())
    check(encoder, model, "text", ["turn on the light", "play some music in the kitchen ."])


def test_a_prompt_and_audio(tmp_path: Path) -> None:
    sentence = Path(sentence_folder(tmp_path / "sentence", "mean"))
    prompts = json.loads((sentence / "config_sentence_transformers.json").read_text())
    prompts |= {"prompts": {"own": "turn on : "}, "default_prompt_name": "own"}
    (sentence / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    text = Spec(name=str(sentence), head=Linear.Spec())
    speech = Spec(name=ast_folder(tmp_path / "ast"), pooling="cls", window="cut", head=Linear.Spec())
    encoder = encoder_of(8, sound=speech, text=text)
    model = exported(encoder, tmp_path / "out")
    rng = np.random.default_rng(0)
    waves = [0.1 * rng.standard_normal(size).astype(np.float32) for size in (9000, 16000, 30000)]
    ours = encoder.encode("sound", waves, sample_rate=16000, output="numpy")
    theirs = model.encode(waves, batch_size=2)
    np.testing.assert_allclose(theirs, ours, atol=1e-4, rtol=0)
    check(encoder, model, "text", ["music", "turn off the light"])


def test_what_its_modules_cannot_compute_is_one_line(tmp_path: Path) -> None:
    bert = bert_folder(tmp_path / "bert")
    plain = Spec(name=bert)
    refused = {
        "image: .* its backbone is a ImageEncoder": {"text": plain, "image": ImageEncoderTower.Spec()},
        "text: .* its head is a GLU": {"text": Spec(name=bert, head=GLU.Spec())},
        "text: .* chosen layers": {"text": Spec(name=bert, layers=1)},
        "sound: .* heard at its own length": {"sound": Spec(name=ast_folder(tmp_path / "ast"), pooling="cls")},
        "both text": {"text": plain, "caption": plain},
    }
    for line, specs in refused.items():
        with pytest.raises(UserError, match=line) as error:
            export(encoder_of(None, **specs), tmp_path / "out", "sentence-transformers")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()
    encoder = encoder_of(None, text=plain, image=ImageEncoderTower.Spec())
    assert export(encoder, tmp_path / "out", "sentence-transformers", ["text"]) == ["text: route 'text'"]
    with pytest.raises(UserError, match="out: holds files"):
        export(encoder, tmp_path / "out", "sentence-transformers", ["text"])
