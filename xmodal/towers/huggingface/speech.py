"""Speech encoders of `transformers`: wav2vec 2.0 and its kin, Whisper's encoder, AST, with their feature extractors.

Input: waveforms, through the family's processor. Output: pooled features [B, G]. Padding changes no embedding. Axes:
B utterances, T samples or frames, F mel bins, G features.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from xmodal.errors import UserError
from xmodal.processor import Processor
from xmodal.towers.from_transformers import TransformersTower
from xmodal.towers.huggingface.model import build_model
from xmodal.towers.huggingface.source import Source
from xmodal.towers.huggingface.text import pool

WAVEFORM = ("wav2vec2", "wav2vec2-conformer", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")
# Their attention mask hides padding exactly, if their first convolution has no normalisation over time.
MASKED = ("wav2vec2", "hubert", "wavlm")


class SpeechProcessor(Processor):
    """What the three families share: the feature extractor, its rate, its description.

    Args:
        extractor: `transformers` feature extractor.
        pooling: of the backbone.
        shortest: samples; shorter audio is padded with silence.
    """

    kind: Literal["audio"] = "audio"

    def __init__(self, extractor: Any, pooling: str, shortest: int):
        self.extractor = extractor
        self.sample_rate: int | None = int(extractor.sampling_rate)
        self.pooling = pooling
        self.shortest = shortest

    def extract(self, item: np.ndarray, key: str) -> np.ndarray:
        """The feature extractor's output for one waveform [T] at `sample_rate`."""
        wave = np.pad(np.asarray(item, dtype=np.float32), (0, max(0, self.shortest - len(item))))
        return np.asarray(self.extractor(wave, sampling_rate=self.sample_rate, return_tensors="np")[key][0], np.float32)

    def save(self, folder: Path) -> None:
        """Write the feature extractor."""
        self.extractor.save_pretrained(folder)

    def describe(self) -> dict[str, Any]:
        """The feature extractor's settings and the pooling."""
        settings = {k: v for k, v in self.extractor.to_dict().items() if k not in ("processor_class", "mel_filters")}
        return {"kind": "transformers_speech", "pooling": self.pooling, "extractor": dict(sorted(settings.items()))}


class WaveformProcessor(SpeechProcessor):
    """Waveforms, normalised one by one where the extractor says so."""

    def features(self, item: np.ndarray) -> np.ndarray:
        """[T] float32."""
        return self.extract(item, "input_values")

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"values": [B, T] float32, "lengths": [B] samples}`."""
        lengths = [len(x) for x in features]
        padded = np.zeros((len(features), max(lengths)), np.float32)
        for row, x in zip(padded, features, strict=True):
            row[: len(x)] = x
        return {"values": torch.from_numpy(padded), "lengths": torch.tensor(lengths)}


class WaveformBackbone(nn.Module):
    """Mean over the frames of a model that reads waveforms.

    Models whose first convolution normalises over time (GroupNorm: wav2vec2-base, hubert-base, ...) would see padding
    even through an attention mask: there, utterances of one length are encoded together, without padding.

    Args:
        model: a model of `WAVEFORM`.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        config = model.config
        adapter = getattr(config, "add_adapter", False)
        self.masked = config.model_type in MASKED and config.feat_extract_norm == "layer" and not adapter
        self.width = (
            int(getattr(config, "output_hidden_size", None) or config.hidden_size)
            if adapter
            else int(config.hidden_size)
        )

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`values` [B, T] and `lengths` [B] samples -> [B, G]."""
        values, lengths = inputs["values"], inputs["lengths"]
        if self.masked:
            hidden = self.model(values, attention_mask=steps_mask(lengths, values.shape[1])).last_hidden_state
            frames = self.model._get_feat_extract_output_lengths(lengths)
            return pool(hidden, steps_mask(frames, hidden.shape[1]), "mean")
        rows, parts = [], []
        for length in lengths.unique().tolist():
            rows.append((lengths == length).nonzero()[:, 0])
            parts.append(self.model(values[rows[-1], :length]).last_hidden_state.mean(1))
        return torch.cat(parts)[torch.cat(rows).argsort()]


class SpectrogramProcessor(SpeechProcessor):
    """Spectrograms of a fixed length (Whisper: 30 s), without their silent end: the last frame kept stands for it.

    Features are [frames, F]. The extractor fills up with silence, whose frames are all alike, so nothing is lost and a
    2 s utterance takes 64 kB instead of 960.

    Args:
        extractor, pooling: as above.
        window, hop: samples; audio shorter than a window is padded.
        frames: what the model needs.
        transposed: the extractor gives [F, frames].
        key: of the extractor's output.
    """

    def __init__(self, extractor: Any, pooling: str, window: int, hop: int, frames: int, transposed: bool, key: str):
        super().__init__(extractor, pooling, window)
        self.hop = hop
        self.frames = frames
        self.transposed = transposed
        self.key = key

    def cut(self, item: np.ndarray) -> str | None:
        """Audio of more frames than the model has, whose end it does not hear."""
        most = self.frames * self.hop + (0 if self.transposed else self.shortest - 1)  # Kaldi's frames lie inside it
        rate = float(self.sample_rate or 1)
        return f"audio of {len(item) / rate:.1f} s cut to {most / rate:.1f} s" if len(item) > most else None

    def features(self, item: np.ndarray) -> np.ndarray:
        """[frames, F] float32: every frame that touches the audio and one more."""
        full = self.extract(item, self.key)
        full = full.T if self.transposed else full
        # a window, centred on its frame, last touches the audio half a window after its end
        heard = math.ceil((max(len(item), self.shortest) + self.shortest / 2) / self.hop)
        return np.ascontiguousarray(full[: heard + 1])

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"features": [B, frames, F] float32, "lengths": [B] frames that touch the audio}`."""
        full = np.stack([np.pad(x, ((0, self.frames - len(x)), (0, 0)), mode="edge") for x in features])
        return {"features": torch.from_numpy(full), "lengths": torch.tensor([max(1, len(x) - 1) for x in features])}


class WhisperBackbone(nn.Module):
    """Mean over the frames of Whisper's encoder that hold speech; the rest of its 30 s is silence.

    Args:
        model: `WhisperEncoder`.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        self.width = int(model.config.d_model)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`features` [B, 3000, F] and `lengths` [B] frames -> [B, G]."""
        hidden = self.model(inputs["features"].transpose(1, 2)).last_hidden_state
        return pool(hidden, steps_mask((inputs["lengths"] + 1) // 2, hidden.shape[1]), "mean")


class ASTBackbone(nn.Module):
    """Audio Spectrogram Transformer: the mean over its patches, or (cls) over its two class tokens, as AST itself does.

    Args:
        model: `ASTModel`.
        pooling: mean or cls.
    """

    def __init__(self, model: Any, pooling: str):
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.width = int(model.config.hidden_size)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`features` [B, frames, F] -> [B, G]."""
        hidden = self.model(inputs["features"]).last_hidden_state
        return (hidden[:, :2] if self.pooling == "cls" else hidden[:, 2:]).mean(1)


def steps_mask(lengths: Tensor, steps: int) -> Tensor:
    """[B, steps] int64, 1 for the first `lengths` [B] of each row."""
    return (torch.arange(steps, device=lengths.device) < lengths[:, None]).long()


SPEECH = (*WAVEFORM, "whisper", "audio-spectrogram-transformer")


def load_speech(
    spec: TransformersTower.Spec, source: Source, config: Any
) -> tuple[nn.Module, WaveformProcessor | SpectrogramProcessor]:
    """Build a speech encoder and its processor.

    Raises:
        UserError: a pooling the family does not have, or files that cannot be read.
    """
    kind = config.model_type
    allowed = ("auto", "mean", "cls") if kind == "audio-spectrogram-transformer" else ("auto", "mean")
    if spec.pooling not in allowed:
        raise UserError(f"tower {spec.name!r}: pooling {spec.pooling!r}: a {kind} model has {', '.join(allowed)}")
    if spec.max_length is not None:
        raise UserError(f"tower {spec.name!r}: max_length counts tokens of text; leave it out for speech")
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(source.location, **source.options())
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise source.unreadable(error, "feature extractor") from error
    pooling = "mean" if spec.pooling == "auto" else spec.pooling
    if kind == "whisper":
        return load_whisper(spec, source, config, extractor)
    model = build_model(transformers.AutoModel, source, config, spec.mode)
    if kind == "audio-spectrogram-transformer":
        window, hop = round(extractor.sampling_rate * 0.025), round(extractor.sampling_rate * 0.01)  # Kaldi's
        ast = SpectrogramProcessor(extractor, pooling, window, hop, config.max_length, False, "input_values")
        return ASTBackbone(model, pooling), ast
    return WaveformBackbone(model), WaveformProcessor(extractor, pooling, receptive_field(config))


def load_whisper(
    spec: TransformersTower.Spec, source: Source, config: Any, extractor: Any
) -> tuple[WhisperBackbone, SpectrogramProcessor]:
    """Whisper's encoder, out of a whole Whisper or a folder that holds the encoder alone."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder  # late: few towers need it

    alone = spec.mode == "scratch" or config.architectures == ["WhisperEncoder"]
    model = build_model(WhisperEncoder if alone else transformers.AutoModel, source, config, spec.mode)
    encoder = model if alone else model.get_encoder()
    frames = 2 * config.max_source_positions
    window, hop = extractor.n_fft, extractor.hop_length
    return WhisperBackbone(encoder), SpectrogramProcessor(
        extractor, "mean", window, hop, frames, True, "input_features"
    )


def receptive_field(config: Any) -> int:
    """Samples behind one frame of the convolutions."""
    field, step = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        field, step = field + (kernel - 1) * step, step * stride
    return field
