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
Side = Literal["visual", "text"]
Norm = Literal["batch", "group"]


class LoRA(Spec):
    """Low-rank updates of a backbone that itself stays as it is: W x + alpha / rank B A x, with A and B trained.

    `targets` are endings of module names (`q_proj`, `mlp.fc1`); auto is every linear map. open_clip's own transformers
    keep their attention as it is: it is one `nn.MultiheadAttention`, which has no linear map to update.
    """

    rank: Count = 8
    alpha: Positive = 16.0
    dropout: Share = 0.0
    targets: tuple[str, ...] | Literal["auto"] = "auto"


class Adaptable(Spec):
    """What pretrained towers share: how much of them trains. `lora` goes with mode locked."""

    mode: Mode = "locked"
    lora: LoRA | None = None
    head: Head = IdentityHead()

    @model_validator(mode="after")
    def _adapters_on_a_fixed_backbone(self) -> Self:
        if self.lora is not None and self.mode != "locked":
            raise ValueError(f"lora goes with mode locked (the backbone stays, the updates train), not {self.mode!r}")
        return self


class TransformersTower(Adaptable):
    """Any `transformers` encoder of text, speech or images, or one `side` of a dual encoder (CLIP, SigLIP).

    `name` is a hub name, a local folder, or `package:NAME/FOLDER` for a model shipped inside an installed package.
    `pooling: auto` takes the folder's own sentence-transformers setting where there is one, else the mean; for images
    the model's own. With `side` the features are the dual encoder's own embeddings.
    """

    kind: Literal["transformers"] = "transformers"
    name: str
    revision: str | None = None
    side: Side | None = None
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    max_length: Count | None = None
    trust_remote_code: bool = False


class OpenCLIPTower(Adaptable):
    """One side of an open_clip model, its projection included.

    `name` is one of `open_clip.list_models()`, `hf-hub:OWNER/MODEL`, a JSON model config, or a folder with an
    open_clip_config.json. `pretrained` is a tag (`open_clip.list_pretrained()`) or a safetensors file; the hub and
    folders carry their own weights. The activation (QuickGELU or not) follows the tag.
    """

    kind: Literal["open_clip"] = "open_clip"
    name: str
    pretrained: str | None = None
    side: Side


class TimmTower(Adaptable):
    """Any timm backbone, pooled as the model pools, with its own data config.

    `name` is a timm name, `hf-hub:OWNER/MODEL`, or a folder in timm's hub format. `options` go to
    `timm.create_model`: `{depth: 6, embed_dim: 192, patch_size: 4}`, `{drop_path_rate: 0.1}`.
    """

    kind: Literal["timm"] = "timm"
    name: str
    weights: Path | None = None  # a safetensors file in place of the name's own; modes locked and unlocked
    image_size: Count | None = None  # pixels, height and width; default: the model's
    options: dict[str, bool | int | float | str | tuple[int, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if self.weights is not None and self.mode == "scratch":
            raise ValueError("weights goes with mode locked or unlocked")
        taken = sorted(self.options.keys() & {"num_classes", "in_chans", "features_only", "pretrained", "img_size"})
        if taken:
            raise ValueError(f"options: {taken[0]} is not for setting: a tower is a backbone of RGB images, pooled")
        if self.options.get("global_pool") == "":
            raise ValueError("options: global_pool '' leaves features unpooled; leave it out, or name a pooling")
        return self


class OwnTower(Spec):
    """What xmodal's own encoders share."""

    mode: Mode = "scratch"
    weights: Path | None = None  # a run folder whose tower of this modality is taken over; modes locked and unlocked

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if (self.weights is None) != (self.mode == "scratch"):
            raise ValueError("weights goes with mode locked or unlocked, and those modes need weights")
        return self


class SpeechEncoderTower(OwnTower):
    """xmodal's own speech encoder: log-mel, strided convolutions, transformer blocks, attention pooling."""

    kind: Literal["speech_encoder"] = "speech_encoder"
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
        return self


class ImageEncoderTower(OwnTower):
    """xmodal's own image encoder: a small residual CNN for small images."""

    kind: Literal["image_encoder"] = "image_encoder"
    image_size: Count = 32  # pixels, height and width
    widths: tuple[Count, ...] = (24, 48, 96, 192)  # channels; the image is halved once per width
    norm: Norm = "batch"
    dropout: Share = 0.0
    mean: tuple[float, float, float] = (0.4914, 0.4822, 0.4465)  # CIFAR-10's, of values in 0..1
    std: tuple[Positive, Positive, Positive] = (0.247, 0.2435, 0.2616)
    head: Head = LinearHead()


class TextEncoderTower(OwnTower):
    """xmodal's own text encoder: UTF-8 bytes, transformer blocks, attention pooling."""

    kind: Literal["text_encoder"] = "text_encoder"
    max_length: int = Field(128, ge=3)  # bytes of a text, with its start and end; the rest is cut off
    width: Count = 192
    layers: Count = 4
    heads: Count = 4
    feed_forward: Count = 768
    dropout: Share = 0.1
    head: Head = LinearHead()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


AnyLiveTower = TransformersTower | OpenCLIPTower | TimmTower | SpeechEncoderTower | ImageEncoderTower | TextEncoderTower
LiveTower = Annotated[AnyLiveTower, Field(discriminator="kind")]


class StoreTower(Spec):
    """The embeddings of a locked tower, computed once (`xmodal embed-frozen`) and read from `path`.

    `tower` says which tower they must come from; a store made otherwise is refused. A store that does not exist is
    made when training starts. The live tower still encodes new items (prompts) at evaluation time.
    """

    kind: Literal["store"] = "store"
    path: Path
    tower: LiveTower
    views: Count = 1  # augmented views of each image; 1: the image as it is
    head: Head = IdentityHead()

    @model_validator(mode="after")
    def _locked(self) -> Self:
        if self.tower.mode != "locked":
            raise ValueError(f"tower.mode is {self.tower.mode!r}: only a locked tower can be read from a store")
        if not is_locked(self.tower):
            raise ValueError("tower.lora: its updates train, so its features do not stay; take lora out, or the store")
        if not isinstance(self.tower.head, IdentityHead):
            raise ValueError("tower.head must be identity: put the head beside `tower`, not inside it")
        return self


AnyTower = AnyLiveTower | StoreTower
TowerSpec = Annotated[AnyTower, Field(discriminator="kind")]


def is_locked(spec: AnyTower) -> bool:
    """Does this tower's backbone stay as it is? One with LoRA does not: its features change as its updates train."""
    return isinstance(spec, StoreTower) or (spec.mode == "locked" and getattr(spec, "lora", None) is None)


def trains(spec: AnyTower) -> bool:
    """Does anything in this tower train: its backbone, its low-rank updates or its head?"""
    return not (is_locked(spec) and isinstance(spec.head, IdentityHead))
