"""torchaudio's bundles as towers: equal to torchaudio, for every layer; weights that are tensors and nothing else."""

import importlib
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torchaudio
from safetensors.torch import save_file
from tiny_bundles import shrink
from tiny_models import batch, check_padding, features, rebuilt
from torch import nn

from xmodal.errors import UserError
from xmodal.towers import build_tower, save_tower
from xmodal.towers.torchaudio_bundle import model as bundles
from xmodal.towers.torchaudio_bundle.kind import TorchaudioTower
from xmodal.training.layer_decay import depth_scales

LIKE = ["WAV2VEC2_BASE", "WAV2VEC2_LARGE_LV60K", "HUBERT_BASE", "WAVLM_BASE_PLUS", "WAV2VEC2_ASR_BASE_960H"]


def spoken() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(length).astype(np.float32) for length in (700, 1500, 700, 30)]


class Tiny(NamedTuple):
    """A bundle of torchaudio's own, made small: `torchaudio.pipelines.TINY`."""

    weights: Path  # random, as safetensors
    model: nn.Module
    normalizes: bool

    def layers(self, wave: np.ndarray) -> list[torch.Tensor]:
        """What torchaudio gives for one utterance, a layer each [T, G]."""
        values = torch.from_numpy(np.pad(wave, (0, max(0, 25 - len(wave)))))[None]
        if self.normalizes:
            values = torch.nn.functional.layer_norm(values, values.shape)
        with torch.no_grad():
            return [layer[0] for layer in self.model.extract_features(values)[0]]  # type: ignore[operator]


@pytest.fixture(params=LIKE)
def tiny(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    weights = tmp_path / "w.safetensors"
    bundle, model = shrink(request.param, monkeypatch, weights)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return Tiny(weights, model, bundle._normalize_waveform)


@pytest.mark.parametrize("layers", ["last", 1, (2, 1)])
def test_frames_are_torchaudio_s(tiny: Tiny, layers: str | int | tuple[int, ...], tmp_path: Path) -> None:
    numbers = {"last": (3,), 1: (1,)}.get(layers, layers)
    spec = TorchaudioTower.Spec(bundle="TINY", weights=tiny.weights, layers=layers)
    tower, processor = build_tower(spec)
    assert (tower.locked, tower.width, processor.sample_rate) == (True, 12 * len(numbers), 16000)
    found = tower.sequence(batch(processor, spoken()))
    for wave, frames in zip(spoken(), found.each(), strict=True):
        each = tiny.layers(wave)
        want = torch.cat([each[layer - 1] for layer in numbers], dim=-1)
        torch.testing.assert_close(frames, want, rtol=1e-4, atol=1e-5)
    pooled = torch.stack([frames.mean(0) for frames in found.each()])
    torch.testing.assert_close(features(tower, processor, spoken()), pooled, rtol=1e-4, atol=1e-5)
    check_padding(tower, processor, spoken())
    tiny.weights.unlink()
    rebuilt(spec, tower, processor, tmp_path / "run" / "towers" / "speech")


def test_all_that_trains_has_a_gradient(tiny: Tiny, tmp_path: Path) -> None:
    """DDP waits for every parameter; layers above the highest one asked for, and what follows them, are not there."""
    for layers in ("last", 2):
        spec = TorchaudioTower.Spec(bundle="TINY", weights=tiny.weights, layers=layers, mode="unlocked")
        tower, processor = build_tower(spec)
        torch.manual_seed(0)
        tower.train()(batch(processor, spoken())).z[:, 0].sum().backward()
        assert [name for name, p in tower.named_parameters() if p.requires_grad and p.grad is None] == []
    shares = depth_scales([name for name, _ in tower.backbone.named_parameters()], 0.5)
    assert shares is not None
    assert {share for name, share in shares.items() if "transformer.layers" in name} == {0.25, 0.5}
    save_tower(spec, tower, processor, tmp_path / "run")
    assert not (tmp_path / "run").exists()  # a tower that trains is in the run's own file


def test_weights_of_the_bundle_itself(tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Taken from torch's cache, and said; a file that holds more than tensors is refused, and runs nothing."""
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "tiny_of_xmodal.pth"
    cached.parent.mkdir(parents=True)
    torch.save(tiny.model.state_dict(), cached)
    tower, _ = build_tower(TorchaudioTower.Spec(bundle="TINY"))
    given, _ = build_tower(TorchaudioTower.Spec(bundle="TINY", weights=tiny.weights))
    assert tower.fingerprint() == given.fingerprint()
    assert "weights of https://download.pytorch.org/torchaudio/models/tiny_of_xmodal.pth" in caplog.text
    assert str(cached) in caplog.text

    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"aux.weight": Evil()}, cached)
    with pytest.raises(UserError, match=r"tiny_of_xmodal\.pth cannot be read as tensors alone .*as weights"):
        build_tower(TorchaudioTower.Spec(bundle="TINY"))
    cached.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match=r"cannot be read as tensors alone"):
        build_tower(TorchaudioTower.Spec(bundle="TINY"))
    assert not (tmp_path / "ran").exists()


def refused(expected: str, **settings: object) -> None:
    with pytest.raises(UserError, match=expected) as raised:
        build_tower(TorchaudioTower.Spec(**settings))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("tiny", ["HUBERT_BASE"], indirect=True)
def test_refused_in_one_line(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused("'HUBERT': torchaudio bundles no such speech encoder; there: .*HUBERT_BASE", bundle="HUBERT")
    refused("no such speech encoder", bundle="TACOTRON2_WAVERNN_CHAR_LJSPEECH")
    refused(r"layers \[4\]: expected different ones of 1 to 3", bundle="TINY", weights=tiny.weights, layers=(4,))
    refused(r"layers \[1, 1\]: expected different", bundle="TINY", weights=tiny.weights, layers=(1, 1))
    refused(r"no\.safetensors: no such file", bundle="TINY", weights=tmp_path / "no.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04junk")
    refused(r"bad\.safetensors: cannot be read as safetensors", bundle="TINY", weights=tmp_path / "bad.safetensors")
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    refused(
        r"its weights are another model's: \S+ is missing, expected \(", bundle="TINY",
        weights=tmp_path / "other.safetensors",
    )  # fmt: skip
    nowhere = replace(torchaudio.pipelines.TINY, _path="https://127.0.0.1:9/tiny.pth")  # nobody answers there
    monkeypatch.setattr(torchaudio.pipelines, "TINY", nowhere)
    refused(r"its weights are neither in \S+tiny\.pth nor to be had from https://127\.\S+ .*as weights", bundle="TINY")


def test_a_torchaudio_that_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was left behind by an upgrade of torch: here a package that raises."""
    (tmp_path / "torchaudio.py").write_text("raise OSError('undefined symbol: torch_list')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [each for each in sys.modules if each.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    refused(
        r"'HUBERT_BASE': torchaudio does not import \(OSError: undefined symbol.*install the one", bundle="HUBERT_BASE"
    )


@pytest.mark.slow
def test_a_whole_bundle(tmp_path: Path) -> None:
    """HuBERT base as torchaudio builds it: 95 M parameters, of random weights."""
    torch.manual_seed(0)
    whole = torchaudio.models.wav2vec2_model(**torchaudio.pipelines.HUBERT_BASE._params).eval()
    save_file({name: value.contiguous() for name, value in whole.state_dict().items()}, tmp_path / "w.safetensors")
    tower, processor = build_tower(TorchaudioTower.Spec(bundle="HUBERT_BASE", weights=tmp_path / "w.safetensors"))
    wave = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    with torch.no_grad():
        want = whole.extract_features(torch.from_numpy(wave)[None])[0][-1][0]
    [found] = tower.sequence(batch(processor, [wave])).each()
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-5)
    assert bundles.bundle_of("HUBERT_BASE").sample_rate == 16000
