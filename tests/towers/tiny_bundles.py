"""torchaudio's own bundles, made small: `torchaudio.pipelines.TINY`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
from safetensors.torch import save_file
from torch import nn

SMALL = {
    "extractor_conv_layer_config": [(8, 10, 5), (8, 4, 4)],  # an utterance has 25 samples at least
    "encoder_embed_dim": 12,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 16,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
}


def shrink(like: str, monkeypatch: pytest.MonkeyPatch, weights: Path, **changes: Any) -> tuple[Any, nn.Module]:
    """Put a small bundle like this one into torchaudio; it, and its model of random weights, which are saved."""
    bundle = getattr(torchaudio.pipelines, like)
    bundle = replace(bundle, _params={**bundle._params, **SMALL, **changes}, _path="tiny_of_xmodal.pth")
    monkeypatch.setattr(torchaudio.pipelines, "TINY", bundle, raising=False)
    build = torchaudio.models.wavlm_model if "WAVLM" in like else torchaudio.models.wav2vec2_model
    torch.manual_seed(0)
    model = build(**bundle._params).eval()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    return bundle, model
