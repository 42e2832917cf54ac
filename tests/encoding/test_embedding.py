"""`embed` against the model called by hand, item by item."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from embedding_texts import by_hand, some_texts
from torch.nn import functional as F

from xmodal.data.audio import read_audio
from xmodal.encoding.embedding import embed
from xmodal.towers import build_tower
from xmodal.towers.heads import Linear
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.own.speech_encoder import SpeechEncoderTower


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_embed_equals_the_model_called_item_by_item(tiny_bert: Path, batch_size: int) -> None:
    tower, processor = build_tower(TransformersTower.Spec(name=str(tiny_bert)))
    texts = some_texts(20)
    found = embed(tower, processor, texts, batch_size=batch_size)
    assert (found.dtype, found.device.type, found.requires_grad) == (torch.float32, "cpu", False)
    for text, row in zip(texts, found, strict=True):
        torch.testing.assert_close(row, by_hand(tiny_bert, text), rtol=1e-4, atol=1e-5)


def test_embed_z_is_the_head_over_the_features_at_unit_norm(tiny_bert: Path) -> None:
    tower, processor = build_tower(TransformersTower.Spec(name=str(tiny_bert), head=Linear.Spec(dim=5)))
    texts = some_texts(9)
    features = embed(tower, processor, texts)
    z = embed(tower, processor, texts, what="z", batch_size=4)
    with torch.no_grad():
        torch.testing.assert_close(z, F.normalize(tower.head(features), dim=-1))
    assert embed(tower, processor, [], what="z").shape == (0, 5)


def test_embed_evaluates_and_leaves_every_module_in_its_mode() -> None:
    tower, processor = build_tower(SpeechEncoderTower.Spec(sample_rate=8000, high=3900, width=16, heads=2, dropout=0.5))
    tower.train()
    tower.backbone.pool.eval()
    waves = [np.random.default_rng(i).standard_normal(4000 + 400 * i).astype(np.float32) for i in range(5)]
    modes = [module.training for module in tower.modules()]
    first, second = embed(tower, processor, waves), embed(tower, processor, waves)
    assert torch.equal(first, second)  # dropout is off
    assert [module.training for module in tower.modules()] == modes
    with pytest.raises(ValueError, match="array of <U8"):
        embed(tower, processor, [*waves, np.array(["no audio"])], batch_size=2)
    assert [module.training for module in tower.modules()] == modes


def test_embed_takes_audio_paths_and_waveforms(tmp_path: Path) -> None:
    tower, processor = build_tower(SpeechEncoderTower.Spec(sample_rate=8000, high=3900, width=16, heads=2))
    paths = []
    for i in range(5):
        wave = np.random.default_rng(i).standard_normal((6000 + 3000 * (i % 3), 2)) / 10
        soundfile.write(tmp_path / f"{i}.wav", wave, 16000)
        paths.append(tmp_path / f"{i}.wav")
    waves = [read_audio(path, 8000) for path in paths]
    assert torch.equal(embed(tower, processor, paths, batch_size=2), embed(tower, processor, waves, batch_size=2))
    assert torch.equal(embed(tower, processor, list(map(str, paths))), embed(tower, processor, paths))
