"""The whole way: frames of a Whisper out of a CTranslate2 folder in a store, a head trained on them, audio encoded."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers
from ctranslate2_writer import ctranslate2_folder
from tiny_models import whisper_folder

import xmodal
from xmodal.config.load import load_config
from xmodal.data.audio import read_audio
from xmodal.encoding.stores.build import build_store
from xmodal.store import content_id
from xmodal.towers import build_tower
from xmodal.training.trainer import Trainer


def test_a_head_over_frames_of_chosen_layers(tiny_config: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    model = transformers.WhisperForConditionalGeneration.from_pretrained(whisper_folder(tmp_path / "whisper"))
    tokens = [f"t{number}" for number in range(48)] + ["<|endoftext|>", "<|startoftranscript|>"]
    folder = ctranslate2_folder(tmp_path / "ct2", model, tokens, "float16")
    digest = hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest()
    tower = {"kind": "transformers", "name": str(folder), "sha256": digest, "layers": [1, 2]}
    head = {"kind": "attention", "mix": 2, "heads": 2}
    store = {"kind": "store", "path": str(tmp_path / "store"), "tower": tower, "head": head}
    augment = {"kind": "audio", "augment": {"time_masks": 1}}
    settings = [f"towers.speech={json.dumps(store)}", f"data.modalities.speech={json.dumps(augment)}"]
    config = load_config(tiny_config, [*settings, "train.steps=3", "evaluators={}"])
    built = build_store(config.towers["speech"], config, "speech")
    live, processor = build_tower(config.towers["speech"].live)
    live.eval()
    waves = []
    for name in ("play_music_0.wav", "call_alarm_3.wav"):
        waves.append(read_audio(tiny_pairs / name, 16000))
        with torch.no_grad():
            frames = live.sequence(processor.collate([processor.features(waves[-1])])).each()[0]
        assert frames.shape[1] == 2 * 32
        np.testing.assert_allclose(built.frames(content_id(name)), frames, atol=5e-3, rtol=2e-3)
    Trainer(config).fit()
    for gone in (folder, tmp_path / "store", tmp_path / "whisper"):
        shutil.rmtree(gone)
    encoder = xmodal.load(config.output, device="cpu")
    spec = encoder.towers["speech"]
    with torch.no_grad():
        own = live.sequence(processor.collate([processor.features(wave) for wave in waves]))
        expected = spec.project(spec.head.pool(own)).z
    torch.testing.assert_close(encoder.encode("speech", waves, sample_rate=16000), expected, rtol=0, atol=1e-5)
