"""Heads and towers: what a config may say of them. Imports no torch."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xmodal.config.spec import Count, Positive, Share, Spec


class IdentityHead(Spec):
    """No head: the backbone's pooled features are the embedding (before normalisation)."""

    kind: Literal["identity"] = "identity"


class LinearHead(Spec):
    """One linear map to `dim` (default: the width of the tower on the other side of the pair)."""

    kind: Literal["linear"] = "linear"
    dim: Count | None = None


class MLPHead(Spec):
    """Linear, GELU, linear."""

    kind: Literal["mlp"] = "mlp"
    dim: Count | None = None
    hidden: Count = 1024
    dropout: Share = 0.0


Head = Annotated[IdentityHead | LinearHead | MLPHead, Field(discriminator="kind")]

Mode = Literal["locked", "unlocked", "scratch"]


class TransformersTower(Spec):
    """Any `transformers` encoder: a text encoder, a sentence-transformers folder, or a speech encoder.

    `name` is a hub name, a local folder, or `package:NAME/FOLDER` for a model shipped inside an installed package.
    `pooling: auto` takes the folder's own sentence-transformers setting where there is one, else the mean.
    """

    kind: Literal["transformers"] = "transformers"
    name: str
    revision: str | None = None
    mode: Mode = "locked"
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    max_length: Count | None = None
    trust_remote_code: bool = False
    head: Head = IdentityHead()


class SpeechEncoderTower(Spec):
    """xmodal's own speech encoder: log-mel, strided convolutions, transformer blocks, attention pooling."""

    kind: Literal["speech_encoder"] = "speech_encoder"
    mode: Mode = "scratch"
    weights: Path | None = None  # a run folder whose tower of this modality is taken over; modes locked and unlocked
    sample_rate: Count = 22050  # Hz
    mels: Count = 64
    fft: Count = 512  # samples; also the window length
    hop: Positive = 10.0  # ms
    low: float = Field(50.0, ge=0)  # Hz
    high: Positive = 7600.0  # Hz
    preemphasis: Share = 0.97
    top_db: Positive | None = None  # dB below the utterance's loudest bin where the log-mel ends; none: a fixed floor
    width: Count = 144
    layers: Count = 3
    heads: Count = 4
    feed_forward: Count = 576
    kernel: Count = 5
    strides: tuple[Count, ...] = (2, 2, 2)
    dropout: Share = 0.1
    head: Head = LinearHead()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.high > self.sample_rate / 2:
            raise ValueError(f"high {self.high:g} Hz is above half the sample rate {self.sample_rate}")
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} Hz is not below high {self.high:g} Hz")
        if (self.weights is None) != (self.mode == "scratch"):
            raise ValueError("weights goes with mode locked or unlocked, and those modes need weights")
        return self


LiveTower = Annotated[TransformersTower | SpeechEncoderTower, Field(discriminator="kind")]


class StoreTower(Spec):
    """The embeddings of a locked tower, computed once (`data_prep/embed_frozen.py`) and read from `path`.

    `tower` says which tower they must come from; a store made otherwise is refused. A store that does not exist is
    made when training starts. The live tower still encodes new items (prompts) at evaluation time.
    """

    kind: Literal["store"] = "store"
    path: Path
    tower: LiveTower
    head: Head = IdentityHead()

    @model_validator(mode="after")
    def _locked(self) -> Self:
        if self.tower.mode != "locked":
            raise ValueError(f"tower.mode is {self.tower.mode!r}: only a locked tower can be read from a store")
        if not isinstance(self.tower.head, IdentityHead):
            raise ValueError("tower.head must be identity: put the head beside `tower`, not inside it")
        return self


TowerSpec = Annotated[TransformersTower | SpeechEncoderTower | StoreTower, Field(discriminator="kind")]


def is_locked(spec: TransformersTower | SpeechEncoderTower | StoreTower) -> bool:
    """Does this tower's backbone stay as it is?"""
    return isinstance(spec, StoreTower) or spec.mode == "locked"


def trains(spec: TransformersTower | SpeechEncoderTower | StoreTower) -> bool:
    """Does anything in this tower train: its backbone or its head?"""
    return not (is_locked(spec) and isinstance(spec.head, IdentityHead))
