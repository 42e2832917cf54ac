"""What a tower does not see is told: exactly where one more token, byte or frame would change nothing."""

import numpy as np
import pytest
import torch
import transformers
from tiny_models import bert_folder, embed, open_clip_files, sentence_folder, whisper_folder
from tokenizers import normalizers, pre_tokenizers

from xmodal.towers import build_tower
from xmodal.towers.kinds.open_clip import OpenCLIPTower
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.own.text_encoder import TextEncoderTower


def tower_of(kind, folder):
    if kind == "bytes":
        spec = TextEncoderTower.Spec(width=16, layers=1, heads=2, feed_forward=32, max_length=12)
    elif kind == "bert":
        spec = TransformersTower.Spec(name=bert_folder(folder / "bert"), max_length=12)
    elif kind == "sentence":
        spec = TransformersTower.Spec(name=sentence_folder(folder / "st", length=12))
    else:
        config, weights, _ = open_clip_files(folder / "clip")
        spec = OpenCLIPTower.Spec(name=config, pretrained=weights, side="text")
    return build_tower(spec)


@pytest.mark.parametrize(
    ("kind", "word", "most", "told"),
    [
        ("bytes", "x", 10, "text of 11 bytes cut to 10"),
        ("bytes", "漢", 3, "text of 12 bytes cut to 10"),
        ("bert", "music ", 10, "text of 13 tokens cut to 12"),
        ("sentence", "music ", 10, "text of 13 tokens cut to 12"),
        ("open_clip", "dog ", 14, "text of 17 tokens cut to 16"),
    ],
)
def test_texts(tmp_path, kind, word, most, told):
    tower, processor = tower_of(kind, tmp_path)
    assert processor.cut(word * most) is None
    assert processor.cut("") is None
    assert processor.cut(word * (most + 1)) == told
    assert processor.cut(word * 1000).replace(",", "").startswith("text of ")
    one, other = embed(tower, processor, [word * (most + 40), word * (most + 90)])
    torch.testing.assert_close(one, other)  # the reason why it must be told


def test_a_letter_that_becomes_many_is_counted(tmp_path):
    """One letter of Arabic, 3 bytes, is 18 letters once it is normalised."""
    _, processor = tower_of("bert", tmp_path)
    processor.tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    processor.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    assert processor.cut("\ufdfa") == "text of 20 tokens cut to 12"


@pytest.mark.parametrize("kind", ["whisper", "ast"])
def test_audio(tmp_path, kind):
    if kind == "whisper":
        name = whisper_folder(tmp_path / "whisper")  # a window of one second
    else:
        sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
        config = transformers.ASTConfig(**sizes, max_length=98, num_mel_bins=32, frequency_stride=8, time_stride=8)
        transformers.ASTModel(config).save_pretrained(tmp_path / "ast")
        transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=98).save_pretrained(tmp_path / "ast")
        name = str(tmp_path / "ast")
    tower, processor = build_tower(TransformersTower.Spec(name=name, window="cut"))
    wave = np.random.default_rng(0).standard_normal(3 * 16000).astype(np.float32)
    assert processor.cut(wave[:16000]) is None
    assert processor.cut(wave) == "audio of 3.0 s cut to 1.0 s"
    if kind == "ast":  # what is heard ends with its last frame
        assert processor.cut(wave[: 400 + 97 * 160 + 159]) is None  # 98 frames of 25 ms, 10 ms apart
        assert processor.cut(wave[: 400 + 98 * 160]) is not None
        one, other = embed(tower, processor, [wave[:32000], wave])
        torch.testing.assert_close(one, other)
