"""Spectrograms without their silent end, and how much of it a model is to hear. Axes: B items, T frames, F mel bins."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmodal.errors import UserError
from xmodal.towers.huggingface.speech.processor import SpeechProcessor
from xmodal.towers.huggingface.speech.windows import Windows
from xmodal.towers.kinds.transformers import TransformersTower


@dataclass(frozen=True)
class Hearing:
    """How much a model hears at once.

    Args:
        windows: in frames; longer audio is heard in several.
        margin: frames of silence after an utterance that is heard at its own length.
        padded: is every utterance filled up with silence to a whole window?
        cut: is the end of longer audio left out?
    """

    windows: Windows
    margin: int
    padded: bool = False
    cut: bool = False

    def frames(self, lengths: Tensor) -> Tensor:
        """Frames to hear of utterances or windows with so many frames of audio [W]."""
        if self.padded:
            return torch.full_like(lengths, self.windows.length)
        return (lengths + self.margin).clamp(max=self.windows.length)

    def needed(self, length: int) -> int:
        """Frames that all windows of an utterance lie in."""
        start = self.windows.starts(length)[-1]
        return start + int(self.frames(torch.tensor(min(length - start, self.windows.length))))

    def told(self) -> dict[str, Any]:
        """What a processor's description says of it; nothing of what there was before there was a choice."""
        if self.cut:
            return {}
        found = {"frames": self.windows.length, "hop": self.windows.hop, "padded": self.padded}
        return {"window": found if self.padded else found | {"margin": self.margin}}


def hearing_of(spec: TransformersTower.Spec, most: int, field: int, stride: int, margin: int, rate: float) -> Hearing:
    """What `window` asks of a model that hears `most` frames at once, `rate` of them a second.

    `field` frames are behind one step of its output, `stride` from one step to the next: a window ends with a step.

    Raises:
        UserError: a longer window than the model has.
    """
    if not isinstance(spec.window, float):
        return Hearing(Windows.of(most, stride), margin, padded=spec.window == "cut", cut=spec.window == "cut")
    length = round(spec.window * rate)
    if length > most:
        raise UserError(
            f"tower {spec.name!r}: window: {spec.window:g} s, but the model hears {most / rate:g} s at once; set at "
            "most that, or own (longer audio is heard in several windows)"
        )
    length = min(most, field + stride * math.ceil((length - field) / stride))
    return Hearing(Windows.of(length, stride), margin, padded=True)


class SpectrogramProcessor(SpeechProcessor):
    """Spectrograms without their silent end: the last frame kept stands for it.

    Features are [T, F], every frame that touches the audio and one more. Silent frames are all alike, so nothing is
    lost, and a 2 s utterance takes 64 kB instead of Whisper's 960.

    Args:
        extractor, pooling: see `SpeechProcessor`.
        shortest: samples behind one frame.
        hop: samples from one frame to the next.
        most: frames that the model hears at once.
        hearing: how much of an utterance is heard.
        layers: what the description says of the layers; nothing of the last one alone.
    """

    def __init__(
        self, extractor: Any, pooling: str, shortest: int, hop: int, most: int, hearing: Hearing, layers: dict[str, Any]
    ):
        super().__init__(extractor, pooling, shortest, hearing.told() | layers)
        self.hop = hop
        self.most = most
        self.hearing = hearing

    def heard(self, samples: int) -> int:
        """Frames that touch so much audio."""
        raise NotImplementedError

    def spectrogram(self, item: np.ndarray, frames: int | None) -> np.ndarray:
        """[T, F]: the model's own window, or so many frames of audio followed by silence."""
        raise NotImplementedError

    def cut(self, item: np.ndarray) -> str | None:
        """Audio whose end is not heard, where the tower is to cut it."""
        raise NotImplementedError

    def features(self, item: np.ndarray) -> np.ndarray:
        """[T, F] float32."""
        heard = self.heard(len(item))
        whole = self.hearing.cut or self.most - 1 <= heard <= self.most  # then its end is as the extractor makes it
        full = self.spectrogram(item, None if whole else heard + 1)
        return np.ascontiguousarray(full[: heard + 1], dtype=np.float32)

    def collate(self, features: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`{"features": [B, T, F] float32, "lengths": [B] frames that touch the audio}`."""
        lengths = [max(1, len(x) - 1) for x in features]
        frames = max(self.hearing.needed(length) for length in lengths)
        full = [np.pad(x[:frames], ((0, max(0, frames - len(x))), (0, 0)), mode="edge") for x in features]
        return {"features": torch.from_numpy(np.stack(full)), "lengths": torch.tensor(lengths)}

    def told_cut(self, samples: int, most: int) -> str | None:
        """What `cut` says of so many samples, of which at most `most` are heard."""
        if not self.hearing.cut or samples <= most:
            return None
        rate = float(self.sample_rate or 1)
        return f"audio of {samples / rate:.1f} s cut to {most / rate:.1f} s"


class WhisperProcessor(SpectrogramProcessor):
    """Whisper's log-mel: centred frames, floored at 8 (of log10) below the loudest one of the utterance."""

    def heard(self, samples: int) -> int:
        """A window, centred on its frame, last touches the audio half a window after its end."""
        found = math.ceil((max(samples, self.shortest) + self.shortest / 2) / self.hop)
        length = self.hearing.windows.length
        return min(found, length) if self.hearing.cut or samples <= length * self.hop else found

    def spectrogram(self, item: np.ndarray, frames: int | None) -> np.ndarray:
        """[T, F]: the model's own window, or so many frames of audio followed by silence."""
        whole = {} if frames is None else {"padding": False, "truncation": False}
        wave = self.wave(item, (frames or 0) * self.hop)
        found = self.extractor(wave, sampling_rate=self.sample_rate, return_tensors="np", **whole)
        return np.asarray(found["input_features"][0]).T

    def cut(self, item: np.ndarray) -> str | None:
        """Audio of more frames than the model has."""
        return self.told_cut(len(item), self.most * self.hop)


class ASTProcessor(SpectrogramProcessor):
    """AST's filter banks, as Kaldi makes them: every frame lies inside the audio."""

    def heard(self, samples: int) -> int:
        """Frames that lie inside so much audio."""
        found = 1 + (max(samples, self.shortest) - self.shortest) // self.hop
        return min(found, self.most) if self.hearing.cut else found

    def spectrogram(self, item: np.ndarray, frames: int | None) -> np.ndarray:
        """[T, F]: the model's own window, or so many frames of audio followed by silence."""
        extractor = copy.copy(self.extractor)
        if frames is not None:
            extractor.max_length = frames
        found = extractor(self.wave(item), sampling_rate=self.sample_rate, return_tensors="np")
        return np.asarray(found["input_values"][0])

    def cut(self, item: np.ndarray) -> str | None:
        """Audio whose last whole frame the model does not hear."""
        return self.told_cut(len(item), self.most * self.hop + self.shortest - 1)
