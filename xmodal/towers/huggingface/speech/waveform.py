"""Encoders that read waveforms: wav2vec 2.0 and its kin. Axes: B utterances, T samples, S frames, G features."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from xmodal.errors import UserError
from xmodal.towers.frames import Frames, all_of, by_length, mean_of, valid_steps
from xmodal.towers.huggingface.layers import LayerStates, blocks_of
from xmodal.towers.huggingface.speech.processor import SpeechProcessor
from xmodal.towers.huggingface.speech.windows import Windows
from xmodal.towers.kinds.transformers import TransformersTower
from xmodal.towers.waveforms import padded_waves

WAVEFORM = ("wav2vec2", "wav2vec2-conformer", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")
# Their attention mask hides padding exactly, if their first convolution has no normalisation over time.
MASKED = ("wav2vec2", "hubert", "wavlm")
WHOLE = Windows(2**62, 1, 2**62)  # no audio is longer: these models hear any length at once


class WaveformProcessor(SpeechProcessor):
    """Waveforms, normalised one by one where the extractor says so."""

    def features(self, item: np.ndarray) -> np.ndarray:
        """[T] float32."""
        wave = self.wave(item)
        found = self.extractor(wave, sampling_rate=self.sample_rate, return_tensors="np")["input_values"][0]
        return np.asarray(found, np.float32)

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"values": [B, T] float32, "lengths": [B] samples}`."""
        return padded_waves(features)


class WaveformBackbone(nn.Module):
    """The frames of a model that reads waveforms, and their mean.

    Models whose first convolution normalises over time (GroupNorm: wav2vec2-base, hubert-base, ...) would see padding
    even through an attention mask: there, utterances of one length are encoded together, without padding.

    Args:
        model: a model of `WAVEFORM`.
        states: the layers that are wanted.
        windows: what is longer is heard in overlapping windows.
    """

    def __init__(self, model: Any, states: LayerStates, windows: Windows = WHOLE):
        super().__init__()
        self.model = model
        self.states = states
        self.windows = windows
        config = model.config
        adapter = getattr(config, "add_adapter", False)
        self.masked = config.model_type in MASKED and config.feat_extract_norm == "layer" and not adapter
        width = getattr(config, "output_hidden_size", None) if adapter else None
        self.width = len(states.wanted) * int(width or config.hidden_size)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`values` [B, T] and `lengths` [B] samples -> [B, G]."""
        return mean_of(self.sequence(inputs))

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`values` [B, T] and `lengths` [B] samples -> a step for each frame that holds nothing but the utterance."""
        split = self.windows.split(inputs["values"], inputs["lengths"])
        return self.windows.join(self._encode(split.values, split.lengths), split.counts)

    def _encode(self, values: Tensor, lengths: Tensor) -> Frames:
        if self.masked:
            hidden = self._states(values, attention_mask=valid_steps(lengths, values.shape[1]).long())
            return Frames(hidden, self.model._get_feat_extract_output_lengths(lengths))
        return by_length(lengths, lambda alike, length: all_of(self._states(values[alike, :length])))

    def _states(self, values: Tensor, **options: Tensor) -> Tensor:
        return self.states.of(lambda: self.model(values, **options).last_hidden_state)


def load_waveform(
    spec: TransformersTower.Spec, model: Any, extractor: Any
) -> tuple[WaveformBackbone, WaveformProcessor]:
    """Backbone and processor around a model of `WAVEFORM`.

    Raises:
        UserError: layers or a window that it cannot have.
    """
    config, told = model.config, spec.told_layers
    if getattr(config, "add_adapter", False) and (told or isinstance(spec.window, float)):
        raise UserError(
            f"tower {spec.name!r}: the model ends in an adapter, whose frames are not those of its layers; leave "
            "layers and window out"
        )
    field, stride = receptive_field(config)
    windows = WHOLE
    if isinstance(spec.window, float):
        windows = Windows.of(round(spec.window * extractor.sampling_rate), stride)
        told = told | {"window": {"samples": windows.length, "hop": windows.hop}}
    at_end = getattr(config, "do_stable_layer_norm", False) or config.model_type == "wav2vec2-conformer"
    states = LayerStates(
        spec.layers, blocks_of(model, spec.name), spec.name, [model.encoder.layer_norm] if at_end else []
    )
    return WaveformBackbone(model, states, windows), WaveformProcessor(extractor, "mean", field, told)


def receptive_field(config: Any) -> tuple[int, int]:
    """Samples behind one frame of the convolutions, and from one frame to the next."""
    field, step = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        field, step = field + (kernel - 1) * step, step * stride
    return field, math.prod(config.conv_stride)
