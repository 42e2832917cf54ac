"""Tiny random models of `transformers`, saved in folders, and what every test asks of a tower made from one."""

import json

import numpy as np
import open_clip
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer, models
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers import models as token_models

from xmodal.towers import build_tower, local_spec, save_tower

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


def sentence_folder(folder, pooling="mean", length=12, dense=None, **options):
    """A folder written by sentence-transformers itself."""
    bert = bert_folder(folder.parent / "bert", **options)
    modules = [models.Transformer(bert, max_seq_length=length), models.Pooling(32, pooling_mode=pooling)]
    if dense:
        modules.append(models.Dense(32, dense, activation_function=torch.nn.Tanh()))
    SentenceTransformer(modules=[*modules, models.Normalize()], device="cpu").save(str(folder))
    return str(folder)


def whisper_folder(folder):
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=50, num_mel_bins=16, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, max_source_positions=50, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases are made zero, which hides what padding does to them
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(folder)
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


def images(seed=0):
    """Odd sizes: wider and higher than the towers take, and smaller."""
    rng = np.random.default_rng(seed)
    shapes = [(37, 53), (64, 41), (32, 32), (19, 71), (23, 22)]
    return [Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes]


VISION = {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
OPEN_CLIP = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}


def open_clip_files(folder, **changes):
    """(JSON config, safetensors) of a tiny model, and the model itself, built by open_clip."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f"tiny_{folder.name}.json"
    config.write_text(json.dumps(OPEN_CLIP | changes))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    model = open_clip.create_model(config.stem).eval()
    save_file({n: v.contiguous() for n, v in model.state_dict().items()}, folder / "tiny.safetensors")
    return str(config), str(folder / "tiny.safetensors"), model


def batch(processor, items):
    return processor.collate([processor.features(item) for item in items])
