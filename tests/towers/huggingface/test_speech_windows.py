"""AST and waveform models at the length of what they hear, and in windows where that is long."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_models import check_padding, embed, features, rebuilt
from tiny_speech import ast_folder, wave_folder

from xmodal.errors import UserError
from xmodal.towers import build_tower
from xmodal.towers.kinds.transformers import TransformersTower


def waves(*samples: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [0.3 * rng.standard_normal(n).astype(np.float32) for n in samples]


def shorter(folder: str, columns: int) -> Any:
    """transformers' own AST made for so many columns, with the positions of those."""
    model = transformers.ASTModel.from_pretrained(folder).eval()
    config = model.config
    rows = (32 - 16) // 10 + 1
    state = model.state_dict()
    table = state["embeddings.position_embeddings"]
    grid = table[:, 2:].reshape(1, rows, -1, 32)[:, :, :columns].reshape(1, rows * columns, 32)
    state["embeddings.position_embeddings"] = torch.cat([table[:, :2], grid], 1)
    config.max_length = 16 + 10 * (columns - 1)
    made = transformers.ASTModel(config)
    made.load_state_dict(state)
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=config.max_length)
    return made.eval(), extractor


@pytest.mark.parametrize("pooling", ["auto", "cls"])
@pytest.mark.parametrize("frames", [1, 16, 17, 46, 126])
def test_ast_hears_a_recording_at_its_own_length(tmp_path: Path, pooling: str, frames: int) -> None:
    folder = ast_folder(tmp_path / "ast")
    tower, processor = build_tower(TransformersTower.Spec(name=folder, pooling=pooling))
    (wave,) = waves(400 + 160 * (frames - 1) + 37)
    columns = max(1, -(-(frames - 16) // 10) + 1)
    model, extractor = shorter(folder, columns)
    with torch.no_grad():
        out = model(extractor(wave, sampling_rate=16000, return_tensors="pt")["input_values"])
    expected = out.pooler_output[0] if pooling == "cls" else out.last_hidden_state[0, 2:].mean(0)
    torch.testing.assert_close(features(tower, processor, [wave])[0], expected, rtol=0, atol=1e-5)
    assert tower.sequence(processor.collate([processor.features(wave)])).lengths.tolist() == [2 * columns]


@pytest.mark.parametrize("pooling", ["auto", "cls"])
def test_ast_gives_the_same_where_the_audio_fills_its_window(tmp_path: Path, pooling: str) -> None:
    folder = ast_folder(tmp_path / "ast")
    own, processor = build_tower(TransformersTower.Spec(name=folder, pooling=pooling))
    full, other = build_tower(TransformersTower.Spec(name=folder, pooling=pooling, window="cut"))
    items = waves(400 + 160 * 127, 400 + 160 * 125)
    torch.testing.assert_close(features(own, processor, items), features(full, other, items), rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", ["own", 1.0, "cut"])
@pytest.mark.parametrize("pooling", ["auto", "cls"])
def test_ast_in_windows_and_batches(tmp_path: Path, window: Any, pooling: str) -> None:
    spec = TransformersTower.Spec(name=ast_folder(tmp_path / "ast"), window=window, pooling=pooling)
    tower, processor = build_tower(spec)
    items = waves(3000, 100, 400 + 160 * 127, 40000, 90000)
    check_padding(tower, processor, items)
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")
    assert torch.equal(embed(again, other, items), embed(tower, processor, items))
    assert (processor.cut(items[-1]) is None) == (window != "cut")
    longer = features(tower, processor, [np.concatenate([items[-1], items[-1]])])
    assert torch.equal(longer, features(tower, processor, items[-1:])) == (window == "cut")  # its end is heard
    frames = 1 + (90000 - 400) // 160
    columns = -(-(frames - 16) // 10) + 1
    found = tower.sequence(processor.collate([processor.features(items[-1])]))
    assert found.lengths.tolist() == [2 * (12 if window == "cut" else columns)]
    assert torch.isfinite(found.values).all()


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_waveforms_in_windows(tmp_path: Path, norm: str) -> None:
    folder = wave_folder(tmp_path / "w", "wav2vec2", norm)
    whole, _ = build_tower(TransformersTower.Spec(name=folder))
    tower, processor = build_tower(TransformersTower.Spec(name=folder, window=1))
    short, long = waves(15000, 40000)
    inputs = processor.collate([processor.features(short)])
    torch.testing.assert_close(tower.sequence(inputs).values, whole.sequence(inputs).values)
    hop, half = 667, 66  # frames of 20 samples: a window of 16,000 shares 2,660 with its neighbour
    parts = []
    values = processor.collate([processor.features(long)])["values"]
    for start in (0, hop * 20, 2 * hop * 20):
        part = values[:, start : start + 16000]
        found = whole.sequence({"values": part, "lengths": torch.tensor([part.shape[1]])}).values[0]
        last = start + 16000 >= 40000
        parts.append(found[half if start else 0 : None if last else hop + half])
    expected = torch.cat(parts)
    frames = tower.sequence(processor.collate([processor.features(long)]))
    assert len(expected) == whole.sequence(processor.collate([processor.features(long)])).values.shape[1]
    torch.testing.assert_close(frames.values[0], expected, rtol=0, atol=1e-5)
    check_padding(tower, processor, [short, long, short[:400], long[:16001]])
    assert processor.describe()["window"] == {"samples": 16000, "hop": hop * 20}


def test_a_window_goes_not_with_an_adapter(tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = wave_folder(tmp_path / "w", "wav2vec2", "layer")
    config = transformers.Wav2Vec2Config.from_pretrained(folder, add_adapter=True)
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    tower, processor = build_tower(TransformersTower.Spec(name=folder))
    check_padding(tower, processor, waves(1600, 3000))
    for setting in ({"window": 2}, {"layers": 1}):
        with pytest.raises(UserError, match="ends in an adapter, whose frames are not those of its layers"):
            build_tower(TransformersTower.Spec(name=folder, **setting))
