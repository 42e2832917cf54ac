"""xmodal's own speech encoder, small enough to train from scratch on two CPU cores: 1.1 M parameters by default.

Input: waveforms, through the `LogMel` processor. Output: pooled features [B, G]. Axes: B utterances, T frames, F mel
bins, G width.
"""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from xmodal.config.spec import Count, Positive, Share
from xmodal.config.tower import AnyHead
from xmodal.processor import Processor
from xmodal.towers.frames import Frames, valid_steps
from xmodal.towers.heads import Linear
from xmodal.towers.kind import OwnTower
from xmodal.towers.own.mel_filters import mel_filters
from xmodal.towers.own.transformer import AttentionPooling, Block, sinusoids

LOG_FLOOR = 1e-6  # added to mel power before the log: below the noise of 16-bit audio
SILENCE = 1e-30  # the least mel power where the floor follows the utterance


class LogMel(Processor):
    """Waveform [T] -> log-mel [frames, F], mean 0 and standard deviation 1 over the utterance.

    y_t = x_t - preemphasis x_{t-1}; Hann windows of `fft` samples every `hop` ms, none of them padded (audio shorter
    than one window is); power spectrum; `mels` triangular filters, evenly spaced in mel between `low` and `high` Hz;
    log; one mean and one standard deviation for the whole utterance. (Normalising every bin by itself was tried: no
    gain on commands, nine points lost on the digits of an unseen speaker, and steady tones vanish.)

    With `top_db` nothing lies further than this below the utterance's loudest bin, so that neither the recording's gain
    nor a noise floor under that level is seen; without, the floor is `LOG_FLOOR`, the same for all utterances.

    Args:
        spec: of the tower, or
        settings: those of the spec that matter here, by name.

    Example:
        LogMel(sample_rate=16000).features(np.zeros(32000, np.float32)).shape  # (197, 64)
    """

    kind: Literal["audio"] = "audio"
    log_mel = True

    def __init__(self, spec: "SpeechEncoderTower.Spec | None" = None, **settings: Any):
        spec = SpeechEncoderTower.Spec.given(spec, settings)
        self.sample_rate: int | None = spec.sample_rate
        self.preemphasis, self.top_db, self.fft = spec.preemphasis, spec.top_db, spec.fft
        self.step = max(1, round(spec.sample_rate * spec.hop / 1000))
        self.window = torch.hann_window(spec.fft)
        self.filters = mel_filters(spec.fft // 2 + 1, spec.low, spec.high, spec.mels, spec.sample_rate)  # [bins, F]
        names = ("sample_rate", "mels", "fft", "hop", "low", "high", "preemphasis", "top_db")
        self._settings = {"kind": "log_mel", **{name: getattr(spec, name) for name in names}}

    @torch.no_grad()
    def features(self, item: np.ndarray) -> np.ndarray:
        """Log-mel of one waveform [T] float32 at `sample_rate`: [frames, F] float16."""
        wave = torch.from_numpy(np.ascontiguousarray(item, dtype=np.float32))
        wave = F.pad(wave, (0, max(0, self.fft - len(wave))))
        wave = torch.cat([wave[:1], wave[1:] - self.preemphasis * wave[:-1]])
        spectrum = torch.fft.rfft(wave.unfold(0, self.fft, self.step) * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        mel = power @ self.filters
        if self.top_db is None:
            mel = torch.log(mel + LOG_FLOOR)
        else:
            lowest = max(float(mel.max()) * 10 ** (-self.top_db / 10), SILENCE)
            mel = torch.log(mel.clamp_min(lowest))
        mel = (mel - mel.mean()) / (mel.std(correction=0) + 1e-5)
        return mel.half().numpy()

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"features": [B, T, F] float32, "lengths": [B] frames}`, zeros beyond each length."""
        lengths = [len(x) for x in features]
        padded = np.zeros((len(features), max(lengths), features[0].shape[1]), np.float32)
        for row, x in zip(padded, features, strict=True):
            row[: len(x)] = x
        return {"features": torch.from_numpy(padded), "lengths": torch.tensor(lengths)}

    def describe(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._settings)


class SpeechEncoder(nn.Module):
    """Strided convolutions, pre-norm transformer, multi-head attention pooling. Padding changes nothing.

    Conv1d(kernel, stride) + GELU per stride, frames beyond the utterance set to 0 after each; LayerNorm; sinusoidal
    positions; `layers` pre-norm transformer layers that attend to valid frames only; LayerNorm; one learned query per
    head pools the valid frames. Dropout is on the input and on the two branches of each layer.

    Args:
        spec: of the tower, or
        settings: those of the spec that matter here, by name.

    Example:
        SpeechEncoder()({"features": torch.randn(2, 180, 64), "lengths": torch.tensor([180, 90])}).shape  # [2, 144]
    """

    def __init__(self, spec: "SpeechEncoderTower.Spec | None" = None, **settings: Any):
        super().__init__()
        spec = SpeechEncoderTower.Spec.given(spec, settings)
        width = self.width = spec.width
        self.kernel, self.strides = spec.kernel, spec.strides
        sizes = [spec.mels, *[width] * (len(spec.strides) - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size, width, spec.kernel, stride, padding=spec.kernel // 2)
            for size, stride in zip(sizes, spec.strides, strict=True)
        )
        self.enter = nn.LayerNorm(width)
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(
            Block(width, spec.heads, spec.feed_forward, spec.dropout) for _ in range(spec.layers)
        )
        self.leave = nn.LayerNorm(width)
        self.pool = AttentionPooling(width, spec.heads)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """`features` [B, T, F] and `lengths` [B] frames -> [B, G]."""
        frames = self.sequence(inputs)
        return self.pool(frames.values, frames.mask()[:, None, None])

    def sequence(self, inputs: dict[str, Tensor]) -> Frames:
        """`features` [B, T, F] and `lengths` [B] frames -> what is pooled, a step for as many frames as are strided."""
        lengths = inputs["lengths"]
        x = inputs["features"].transpose(1, 2)
        x = x * valid_steps(lengths, x.shape[2])[:, None].to(x.dtype)
        for convolution, stride in zip(self.convolutions, self.strides, strict=True):
            x = F.gelu(convolution(x))
            lengths = (lengths + 2 * (self.kernel // 2) - self.kernel) // stride + 1
            x = x * valid_steps(lengths, x.shape[2])[:, None].to(x.dtype)
        x = self.enter(x.transpose(1, 2))
        x = self.dropout(x + sinusoids(x.shape[1], self.width, x.device))
        mask = valid_steps(lengths, x.shape[1])[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return Frames(self.leave(x), lengths)

    def pooling_modules(self) -> list[nn.Module]:
        """What a head over the sequence leaves unused."""
        return [self.pool]


class SpeechEncoderTower(OwnTower):
    """xmodal's own speech encoder: log-mel, strided convolutions, transformer blocks, attention pooling."""

    class Spec(OwnTower.Spec):
        """Settings of `LogMel` and `SpeechEncoder`."""

        sample_rate: Count = 22050  # Hz
        mels: Count = 64
        fft: Count = 512  # samples; also the window length
        hop: Positive = 10.0  # ms
        low: float = Field(50.0, ge=0)  # Hz
        high: Positive = 7600.0  # Hz
        preemphasis: Share = 0.97
        top_db: Positive | None = None  # dB below the utterance's loudest bin where the log-mel ends; none: fixed floor
        width: Count = 144
        layers: Count = 3
        heads: Count = 4
        feed_forward: Count = 576
        kernel: Count = 5
        strides: tuple[Count, ...] = Field((2, 2, 2), min_length=1)
        dropout: Share = 0.1
        head: AnyHead = Linear.Spec()

        @model_validator(mode="after")
        def _consistent(self) -> Self:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
            if self.high > self.sample_rate / 2:
                raise ValueError(
                    f"high {self.high:g} Hz is above half the sample rate {self.sample_rate}; set high to at most "
                    f"{self.sample_rate / 2:g}"
                )
            if self.low >= self.high:
                raise ValueError(f"low {self.low:g} Hz is not below high {self.high:g} Hz")
            return self

    def make(self, spec: Spec) -> tuple[SpeechEncoder, LogMel]:
        """Backbone with random weights, and processor."""
        return SpeechEncoder(spec), LogMel(spec)
