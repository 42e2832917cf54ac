"""Whisper's encoder at the length of what it hears, against transformers' own encoder made for that length."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_models import check_padding, embed, features, rebuilt, whisper_folder
from torch import Tensor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from xmodal.errors import UserError
from xmodal.towers import build_tower
from xmodal.towers.huggingface.speech.windows import Windows
from xmodal.towers.kinds.transformers import TransformersTower

MARGIN = 50  # frames: half a second of silence


def waves(*samples: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [0.3 * rng.standard_normal(n).astype(np.float32) for n in samples]


def whole(folder: str) -> WhisperEncoder:
    return transformers.WhisperModel.from_pretrained(folder).eval().get_encoder()


def made_for(encoder: WhisperEncoder, steps: int) -> WhisperEncoder:
    """transformers' own encoder with the same weights and only the first `steps` positions."""
    config = copy.deepcopy(encoder.config)
    config.max_source_positions = steps
    state = encoder.state_dict()
    state["embed_positions.weight"] = state["embed_positions.weight"][:steps]
    made = WhisperEncoder(config)
    made.load_state_dict(state)
    return made.eval()


def own_length(encoder: WhisperEncoder, log_mel: Tensor) -> Tensor:
    """The encoder's last layer over frames [F, T], T even: [T / 2, G]."""
    with torch.no_grad():
        return made_for(encoder, log_mel.shape[1] // 2)(log_mel[None]).last_hidden_state[0]


def log_mel(folder: str, wave: np.ndarray) -> Tensor:
    """As transformers makes it, of 1 s."""
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    return extractor(wave, sampling_rate=16000, return_tensors="pt")["input_features"][0]


def heard(samples: int) -> int:
    """Frames whose 400 samples, centred 160 apart, touch the audio."""
    return math.ceil((max(samples, 400) + 200) / 160)


def test_an_utterance_is_encoded_at_its_own_length(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "whisper")
    tower, processor = build_tower(TransformersTower.Spec(name=folder))
    for wave in waves(3900, 200, 7100):
        frames = heard(len(wave))
        length = frames + MARGIN
        assert length % 2 == 0  # an odd one has no encoder of transformers to compare with
        assert length < 100
        steps = (frames + 1) // 2
        expected = own_length(whole(folder), log_mel(folder, wave)[:, :length])[:steps]
        batch = processor.collate([processor.features(wave)])
        torch.testing.assert_close(batch["features"][0].T, log_mel(folder, wave)[:, :length], rtol=0, atol=1e-6)
        with torch.no_grad():
            found = tower.sequence(batch)
        assert found.lengths.tolist() == [steps]
        assert found.values.shape == (1, steps, 32)
        torch.testing.assert_close(found.values[0], expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(features(tower, processor, [wave])[0], expected.mean(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", ["own", 1])
def test_audio_that_fills_the_window_gives_what_the_whole_window_gives(tmp_path: Path, window: Any) -> None:
    folder = whisper_folder(tmp_path / "whisper")
    own, processor = build_tower(TransformersTower.Spec(name=folder, window=window))
    full, other = build_tower(TransformersTower.Spec(name=folder, window="cut"))
    for wave in waves(16000, 15999, 15990, 15700):
        torch.testing.assert_close(features(own, processor, [wave]), features(full, other, [wave]), rtol=0, atol=1e-5)
        with torch.no_grad():
            expected = whole(folder)(log_mel(folder, wave)[None]).last_hidden_state[0]
        found = own.sequence(processor.collate([processor.features(wave)])).values[0]
        torch.testing.assert_close(found, expected[: len(found)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", ["own", 1, "cut"])
def test_who_else_is_in_the_batch_changes_nothing(tmp_path: Path, window: Any) -> None:
    tower, processor = build_tower(TransformersTower.Spec(name=whisper_folder(tmp_path / "whisper"), window=window))
    items = waves(3800, 7, 16000, 4001, 16001, 50000, 23456)
    check_padding(tower, processor, items)
    with torch.no_grad():
        together = tower.sequence(processor.collate([processor.features(wave) for wave in items])).each()
        for wave, row in zip(items, together, strict=True):
            alone = tower.sequence(processor.collate([processor.features(wave)]))
            torch.testing.assert_close(row, alone.each()[0], rtol=0, atol=1e-5)


def test_longer_audio_is_heard_in_overlapping_windows(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "whisper")
    tower, processor = build_tower(TransformersTower.Spec(name=folder))
    (wave,) = waves(16000 * 2 + 5800)
    frames = heard(len(wave))
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    long = np.pad(wave, (0, 16000))
    mel = extractor(long, sampling_rate=16000, return_tensors="pt", truncation=False, padding=False)
    mel = mel["input_features"][0]
    kept, hop, half = [], 42, 4  # steps: a window of 50 shares 8 with its neighbour
    for number, start in enumerate(range(0, frames, 2 * hop)):
        if start and start + 100 - 2 * hop >= frames:
            break
        last = start + 100 >= frames
        stop = min(start + 100, frames + MARGIN)
        out = own_length(whole(folder), mel[:, start:stop])
        kept.append(out[half if number else 0 : (frames - start + 1) // 2 if last else hop + half])
    expected = torch.cat(kept)
    assert len(kept) == 3
    assert processor.cut(wave) is None
    found = tower.sequence(processor.collate([processor.features(wave)]))
    assert found.lengths.tolist() == [len(expected)] == [(frames + 1) // 2]
    torch.testing.assert_close(found.values[0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(features(tower, processor, [wave])[0], expected.mean(0), rtol=0, atol=1e-5)


def test_a_run_keeps_the_window_and_stores_tell_it_apart(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "whisper")
    told = []
    for window in ("own", 1, "cut"):
        spec = TransformersTower.Spec(name=folder, window=window, layers=[1, 2])
        tower, processor = build_tower(spec)
        again, other = rebuilt(spec, tower, processor, tmp_path / f"run_{window}")
        items = waves(3000, 20000)
        assert torch.equal(embed(again, other, items), embed(tower, processor, items))
        told.append(processor.describe())
    assert all(one != two for at, one in enumerate(told) for two in told[:at])
    plain = build_tower(TransformersTower.Spec(name=folder, window="cut"))[1].describe()
    assert set(plain) == {"kind", "pooling", "extractor"}  # as stores of before say it


def test_every_parameter_that_is_used_learns(tmp_path: Path) -> None:
    tower, processor = build_tower(TransformersTower.Spec(name=whisper_folder(tmp_path / "whisper"), mode="unlocked"))
    batch = processor.collate([processor.features(wave) for wave in waves(3000, 20000)])
    tower(batch).z[:, 0].sum().backward()
    assert all(p.grad is not None for p in tower.parameters() if p.requires_grad)


def test_a_window_beyond_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"window: 30 s, but the model hears 1 s at once; set at most that, or own"):
        build_tower(TransformersTower.Spec(name=whisper_folder(tmp_path / "whisper"), window=30))


@pytest.mark.parametrize(("length", "stride"), [(3000, 2), (1024, 10), (480000, 320), (100, 2)])
def test_windows_cover_everything_once(length: int, stride: int) -> None:
    """Outputs that say where they are: joined, they count up without a gap."""
    windows = Windows.of(length, stride)
    assert abs(windows.hop - length * 5 / 6) <= stride
    for steps in (1, length - 1, length, length + 1, 2 * windows.hop, 3 * length + 7):
        starts = windows.starts(steps)
        assert starts[-1] + length >= steps
        assert all(steps - start > length - windows.hop for start in starts[1:])
        parts = [
            torch.arange(start, min(start + length, steps), stride).div(stride, rounding_mode="floor")
            for start in starts
        ]
        assert windows.joined(parts).tolist() == list(range(-(-steps // stride)))
