"""Tiny random speech models of `transformers`, saved in folders."""

from pathlib import Path

import torch
import transformers
from tiny_models import SIZES

WAVE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.5, "mask_time_length": 2,
    "layerdrop": 0.5, "num_buckets": 8, "max_bucket_distance": 20,
}  # fmt: skip
WAVEFORM_MODELS = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
    "hubert": ("HubertConfig", "HubertModel"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
    "data2vec-audio": ("Data2VecAudioConfig", "Data2VecAudioModel"),
    "wav2vec2-conformer": ("Wav2Vec2ConformerConfig", "Wav2Vec2ConformerModel"),
    "unispeech": ("UniSpeechConfig", "UniSpeechModel"),
    "unispeech-sat": ("UniSpeechSatConfig", "UniSpeechSatModel"),
}


def wave_folder(folder: Path, kind: str, norm: str) -> str:
    torch.manual_seed(0)
    config, model = (getattr(transformers, name) for name in WAVEFORM_MODELS[kind])
    made = model(config(**WAVE, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer"))
    made.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    return str(folder)


def ast_folder(folder: Path, length: int = 128) -> str:
    """AST with random positions: 2 rows of patches, and of 128 frames 12 columns."""
    torch.manual_seed(0)
    config = transformers.ASTConfig(num_mel_bins=32, max_length=length, patch_size=16, **SIZES)
    model = transformers.ASTModel(config)
    torch.nn.init.normal_(model.embeddings.position_embeddings)
    model.save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=length).save_pretrained(folder)
    return str(folder)
