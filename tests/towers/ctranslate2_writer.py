"""Writes a Whisper of transformers as CTranslate2 does, by the public description of its files."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
Arrays = dict[str, Any]


def arrays_of(model: Any) -> Arrays:
    """A `WhisperForConditionalGeneration`'s arrays under CTranslate2's names."""
    found: Arrays = {}

    def norm(name: str, module: Any) -> None:
        found[f"{name}/gamma"], found[f"{name}/beta"] = module.weight, module.bias

    def linear(name: str, *modules: Any) -> None:
        zero = [torch.zeros(len(m.weight)) if m.bias is None else m.bias for m in modules]
        found[f"{name}/weight"] = torch.cat([m.weight for m in modules])
        found[f"{name}/bias"] = torch.cat(zero)

    for side, module in (("encoder", model.model.encoder), ("decoder", model.model.decoder)):
        for number, layer in enumerate(module.layers):
            name, own = f"{side}/layer_{number}", layer.self_attn
            norm(f"{name}/self_attention/layer_norm", layer.self_attn_layer_norm)
            linear(f"{name}/self_attention/linear_0", own.q_proj, own.k_proj, own.v_proj)
            linear(f"{name}/self_attention/linear_1", own.out_proj)
            if side == "decoder":
                other = layer.encoder_attn
                norm(f"{name}/attention/layer_norm", layer.encoder_attn_layer_norm)
                linear(f"{name}/attention/linear_0", other.q_proj)
                linear(f"{name}/attention/linear_1", other.k_proj, other.v_proj)
                linear(f"{name}/attention/linear_2", other.out_proj)
            norm(f"{name}/ffn/layer_norm", layer.final_layer_norm)
            linear(f"{name}/ffn/linear_0", layer.fc1)
            linear(f"{name}/ffn/linear_1", layer.fc2)
        norm(f"{side}/layer_norm", module.layer_norm)
        found[f"{side}/position_encodings/encodings"] = module.embed_positions.weight
        heads = getattr(model.config, f"{side}_attention_heads")
        found[f"{side}/num_heads"] = np.int16(heads)
    for conv in ("conv1", "conv2"):
        module = getattr(model.model.encoder, conv)
        found[f"encoder/{conv}/weight"], found[f"encoder/{conv}/bias"] = module.weight, module.bias
    found["decoder/embeddings/weight"] = model.model.decoder.embed_tokens.weight
    found |= {"decoder/activation": np.int8(3), "decoder/scale_embeddings": np.int8(0)}
    return {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in found.items()}


def text(value: str) -> bytes:
    return struct.pack("<H", len(value.encode()) + 1) + value.encode() + b"\0"


def write_model(
    path: Path, arrays: Arrays, dtype: str = "float32", name: str = "WhisperSpec", version: int = 6, revision: int = 3
) -> None:
    """A model.bin; weights as `dtype`, the output's map as an alias of the embedding."""
    parts = [struct.pack("<I", version), text(name), struct.pack("<II", revision, len(arrays))]
    for key in sorted(arrays):
        value = arrays[key]
        if isinstance(value, torch.Tensor):
            kind, shape = dtype, tuple(value.shape)
            data = value.to(getattr(torch, dtype)).contiguous().view(torch.uint8).numpy().tobytes()
        else:
            kind, shape, data = str(value.dtype), (), value.tobytes()
        parts += [text(key), struct.pack("<B", len(shape)), struct.pack(f"<{len(shape)}I", *shape)]
        parts += [struct.pack("<BI", TYPES.index(kind), len(data)), data]
    parts += [struct.pack("<I", 1), text("decoder/projection/weight"), text("decoder/embeddings/weight")]
    path.write_bytes(b"".join(parts))


def ctranslate2_folder(folder: Path, model: Any, tokens: list[str], dtype: str = "float32") -> Path:
    """A folder as faster-whisper keeps it."""
    folder.mkdir()
    write_model(folder / "model.bin", arrays_of(model), dtype)
    settings = {"suppress_ids": [], "suppress_ids_begin": [], "lang_ids": [], "alignment_heads": []}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "vocabulary.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return folder
