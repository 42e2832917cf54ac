"""Chosen layers of encoders, against the hidden states that transformers itself gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_models import (
    SIZES,
    TEXTS,
    batch,
    bert_folder,
    check_padding,
    features,
    images,
    rebuilt,
    sentence_folder,
    whisper_folder,
)
from tiny_speech import ast_folder, wave_folder
from torch import Tensor

from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.towers import build_tower
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.sequence_heads import Transformer
from xmodal.towers.tower import Tower


def waves() -> Any:
    rng = np.random.default_rng(0)
    return [0.3 * rng.standard_normal(16000).astype(np.float32) for _ in range(2)]


def made(folder: Path, kind: str) -> Any:
    """A folder with a tiny model, and items that fill its window."""
    if kind == "bert":
        return bert_folder(folder), TEXTS[:1] * 2
    if kind == "whisper":
        return whisper_folder(folder), waves()
    if kind.startswith("wav2vec2"):
        return wave_folder(folder, "wav2vec2", kind.split()[1]), waves()
    if kind == "ast":
        return ast_folder(folder, 98), waves()
    if kind == "vit":
        config = transformers.ViTConfig(image_size=32, patch_size=8, **SIZES)
        transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
        size = {"height": 32, "width": 32}
    else:
        config = transformers.CLIPVisionConfig(image_size=32, patch_size=8, **SIZES)
        transformers.CLIPVisionModel(config).save_pretrained(folder)
        size = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    return str(folder), images()


def hidden_states(folder: str, tower: Tower, processor: Processor, items: list[Any]) -> list[Tensor]:
    """transformers' own, [B, T, G] each: what enters the first block, and what leaves each."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = batch(processor, items)
    given = {
        "input_ids": lambda: dict(inputs),
        "values": lambda: {"input_values": inputs["values"]},
        "pixels": lambda: {"pixel_values": inputs["pixels"]},
    }
    key = next((key for key in given if key in inputs), None)
    if key is not None:
        arguments = given[key]()
    elif isinstance(model, transformers.WhisperModel):
        model, arguments = model.get_encoder(), {"input_features": inputs["features"].transpose(1, 2)}
    else:
        arguments = {"input_values": inputs["features"]}
    with torch.no_grad():
        return list(model(**arguments, output_hidden_states=True).hidden_states)


KINDS = ["bert", "whisper", "wav2vec2 layer", "wav2vec2 group", "ast", "vit", "clip"]


@pytest.mark.parametrize("kind", KINDS)
def test_layers_stand_side_by_side(tmp_path: Path, kind: str) -> None:
    folder, items = made(tmp_path / "model", kind)
    pooling = {"pooling": "mean"} if kind in ("vit", "clip") else {}
    last, processor = build_tower(TransformersTower.Spec(name=folder, **pooling))
    states = hidden_states(folder, last, processor, items)
    prefix = {"ast": 2, "vit": 1, "clip": 1}.get(kind, 0)
    expected = [state[:, prefix:] for state in states]
    if kind == "ast":  # patches row after row: here in time
        expected = [state.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2) for state in expected]
    towers = {}
    for layers in (0, 1, 2, [1, 0], "last"):
        spec = TransformersTower.Spec(name=folder, layers=layers, **pooling)
        tower, processor = towers[str(layers)] = build_tower(spec)
        wanted = [layers] if isinstance(layers, int) else [2] if layers == "last" else layers
        with torch.no_grad():
            found = tower.sequence(batch(processor, items))
            if 2 in wanted:
                expected[2] = last.sequence(batch(processor, items)).values
            side_by_side = torch.cat([expected[number] for number in wanted], -1)
            torch.testing.assert_close(found.values, side_by_side[:, : found.values.shape[1]], rtol=0, atol=1e-5)
        assert tower.width == 32 * len(wanted) == getattr(tower.backbone, "step_width", tower.backbone.width)
        pooled = torch.stack([row.mean(0) for row in found.each()])
        torch.testing.assert_close(features(tower, processor, items), pooled, rtol=0, atol=1e-5)
        rebuilt(spec, tower, processor, tmp_path / f"run {layers}")
    told = {name: (tower.fingerprint(), processor.describe()) for name, (tower, processor) in towers.items()}
    assert told["0"] != told["1"] != told["[1, 0]"] != told["0"]
    assert told["2"] != told["1"]
    assert told["last"][0] == last.fingerprint()


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_after_the_last_layer_wanted_does_not_train(tmp_path: Path, kind: str) -> None:
    folder, items = made(tmp_path / "model", kind)
    tower, processor = build_tower(TransformersTower.Spec(name=folder, mode="unlocked", layers=[0, 1]))
    tower(batch(processor, items)).raw.square().sum().backward()
    names = {name for name, p in tower.named_parameters() if p.requires_grad}
    assert {name for name, p in tower.named_parameters() if p.grad is not None} == names
    assert any(".0." in name for name in names)
    assert not any(".1.attention" in name or ".1.self_attn" in name for name in names)


def test_mistakes(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    with pytest.raises(UserError, match=r"layers: 7: the model has 2 blocks; choose from 0 to 2"):
        build_tower(TransformersTower.Spec(name=folder, layers=[1, 7]))
    for layers in (-1, [], [0, -2], "first", 1.5):
        with pytest.raises(ValueError, match="layers"):
            TransformersTower.Spec(name=folder, layers=layers)
    with pytest.raises(UserError, match="window is in seconds of speech"):
        build_tower(TransformersTower.Spec(name=folder, window=30))
    dense = sentence_folder(tmp_path / "st", dense=8)
    with pytest.raises(UserError, match="layers: its dense modules take the last layer"):
        build_tower(TransformersTower.Spec(name=dense, layers=1))


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2 group", "bert"])
def test_a_head_mixes_the_layers_and_padding_changes_nothing(tmp_path: Path, kind: str) -> None:
    folder, items = made(tmp_path / "model", kind)
    head = Transformer.Spec(mix=3, stack=2, hidden=16, layers=1, heads=2, feed_forward=32, dropout=0.0)
    tower, processor = build_tower(TransformersTower.Spec(name=folder, layers=[0, 1, 2], head=head), out_dim=8)
    assert (tower.width, tower.dim) == (16, 8)
    shorter = items[0][: len(items[0]) // 3]
    check_padding(tower, processor, [items[0], shorter, items[1]])
    tower.train()(batch(processor, items)).z[:, 0].sum().backward()
    assert all(p.grad is not None for p in tower.parameters() if p.requires_grad)
    with pytest.raises(UserError, match=r"head.mix: 3 layers, but the backbone's 32 features are no multiple"):
        build_tower(TransformersTower.Spec(name=folder, head=head))
