"""Speech towers out of `transformers`, on tiny random models: each family against the model itself, one by one."""

import numpy as np
import pytest
import torch
import transformers
from tiny_models import SIZES, check_padding, embed, features, rebuilt, whisper_folder
from tiny_speech import WAVEFORM_MODELS, wave_folder

from xmodal.towers import build_tower, local_spec
from xmodal.towers.kinds.transformers import TransformersTower


def utterances():
    rng = np.random.default_rng(0)
    return [rng.standard_normal(n).astype(np.float32) for n in (1600, 799, 1600, 1234, 30, 320)]


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("kind", list(WAVEFORM_MODELS))
def test_waveform_models(tmp_path, kind, norm):
    spec = TransformersTower.Spec(name=wave_folder(tmp_path / "w", kind, norm))
    tower, processor = build_tower(spec)
    assert (processor.kind, processor.sample_rate, processor.log_mel, tower.width) == ("audio", 16000, False, 32)
    model = getattr(transformers, WAVEFORM_MODELS[kind][1]).from_pretrained(tmp_path / "w").eval()
    for row, wave in zip(features(tower, processor, utterances()), utterances(), strict=True):
        field = 10 + 2 * 5 + 1 * 10  # samples behind one frame
        padded = np.pad(wave, (0, max(0, field - len(wave))))
        normal = torch.from_numpy((padded - padded.mean()) / np.sqrt(padded.var() + 1e-7))
        with torch.no_grad():
            expected = model(normal[None]).last_hidden_state[0].mean(0)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)
    if kind in ("wav2vec2", "hubert", "wavlm"):
        assert tower.backbone.masked == (norm == "layer")
        again, other = rebuilt(spec, tower, processor, tmp_path / "run")
        assert torch.equal(embed(again, other, utterances()), embed(tower, processor, utterances()))


@pytest.mark.parametrize("mode", ["unlocked", "scratch"])
def test_waveform_training_reaches_every_parameter_and_takes_short_audio(tmp_path, mode):
    tower, processor = build_tower(
        TransformersTower.Spec(name=wave_folder(tmp_path / "w", "wav2vec2", "group"), mode=mode)
    )
    tower.train()
    batch = processor.collate([processor.features(w) for w in utterances()])
    state = np.random.get_state()[1].copy()
    tower(batch).z[:, 0].sum().backward()
    assert all(p.grad is not None for p in tower.parameters())
    assert np.array_equal(state, np.random.get_state()[1])  # no draw from numpy's generator: resume stays exact


def test_whisper_encoder(tmp_path):
    spec = TransformersTower.Spec(name=whisper_folder(tmp_path / "whisper"), window="cut")
    tower, processor = build_tower(spec)
    assert not any("decoder" in name for name, _ in tower.named_parameters())
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(tmp_path / "whisper")
    encoder = transformers.WhisperModel.from_pretrained(tmp_path / "whisper").eval().get_encoder()
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(n).astype(np.float32) for n in (8000, 100, 15999, 16000, 40000, 7)]
    found = features(tower, processor, waves)
    for row, wave in zip(found, waves, strict=True):
        full = extractor(wave, sampling_rate=16000, return_tensors="pt")["input_features"]
        kept = processor.collate([processor.features(wave)])["features"]
        assert torch.equal(kept.transpose(1, 2), full)  # cutting the silent end off loses nothing
        heard = [t for t in range(100) if 160 * t - 200 < max(len(wave), 400)]  # mel frames that touch the audio
        frames = sorted({t // 2 for t in heard})
        with torch.no_grad():
            expected = encoder(full).last_hidden_state[0, frames].mean(0)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)
    assert processor.features(waves[0]).shape == (53, 16)
    check_padding(tower, processor, waves)
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")
    assert torch.equal(embed(again, other, waves), embed(tower, processor, waves))
    rebuilt(local_spec(spec, tmp_path / "run"), again, other, tmp_path / "second")


@pytest.mark.parametrize("pooling", ["auto", "cls"])
def test_audio_spectrogram_transformer(tmp_path, pooling):
    torch.manual_seed(0)
    config = transformers.ASTConfig(num_mel_bins=32, max_length=64, patch_size=16, **SIZES)
    model = transformers.ASTModel(config).eval()
    model.save_pretrained(tmp_path / "ast")
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=64)
    extractor.save_pretrained(tmp_path / "ast")
    spec = TransformersTower.Spec(name=str(tmp_path / "ast"), pooling=pooling, window="cut")
    tower, processor = build_tower(spec)
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(n).astype(np.float32) for n in (4000, 400, 30000, 8000)]
    found = features(tower, processor, waves)
    for row, wave in zip(found, waves, strict=True):
        full = extractor(wave, sampling_rate=16000, return_tensors="pt")["input_values"]
        assert torch.equal(processor.collate([processor.features(wave)])["features"], full)
        with torch.no_grad():
            out = model(full)
        expected = out.pooler_output[0] if pooling == "cls" else out.last_hidden_state[0, 2:].mean(0)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)
    assert features(tower, processor, [waves[0][:50]]).shape == (1, 32)
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")
    assert torch.equal(embed(again, other, waves), embed(tower, processor, waves))


def test_speech_from_scratch_needs_only_a_config(tmp_path):
    whisper_folder(tmp_path / "whisper")
    (tmp_path / "whisper" / "model.safetensors").unlink()
    spec = TransformersTower.Spec(name=str(tmp_path / "whisper"), mode="scratch")
    tower, processor = build_tower(spec)
    batch = processor.collate([processor.features(np.ones(4000, np.float32))])
    tower(batch).z[:, 0].sum().backward()
    assert all(p.grad is not None for p in tower.parameters() if p.requires_grad)
    rebuilt(spec, tower, processor, tmp_path / "run")
