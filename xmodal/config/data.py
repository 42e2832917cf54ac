"""Paired data, and what each modality is: what a config may say of them. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xmodal.config.spec import Count, Positive, Share, Spec


class SpeechAugment(Spec):
    """Augmentation of log-mel features, training only; every amount 0 is off (see `xmodal/data/views/log_mel.py`).

    `time_masks`, `speed` and `noise` also work on stored sequences, whose features are no frequencies.
    """

    frequency_masks: int = Field(0, ge=0)
    frequency_width: int = Field(10, ge=0)  # mel bins, the widest mask
    time_masks: int = Field(0, ge=0)
    time_share: Share = 0.1  # of the utterance, the longest mask
    mel_roll: int = Field(0, ge=0)  # bins, up or down
    mel_warp: Share = 0.0  # largest relative stretch of the frequency axis
    speed: Share = 0.0  # largest relative change of tempo
    floor: Share = 0.0  # highest level to which quiet parts are raised, of the way from the lowest to the highest value
    tilt: float = Field(0.0, ge=0)  # largest spectral tilt, in standard deviations over the band
    noise: float = Field(0.0, ge=0)  # largest standard deviation of added noise

    @property
    def is_active(self) -> bool:
        """Does this change anything?"""
        hidden = (self.frequency_masks * self.frequency_width, self.time_masks * self.time_share)
        moved = (self.mel_roll, self.mel_warp, self.speed)
        return any(amount > 0 for amount in (*hidden, *moved, self.floor, self.tilt, self.noise))

    @property
    def of_frequencies(self) -> list[str]:
        """What is set that means nothing where features are no frequencies."""
        names = ("frequency_masks", "mel_roll", "mel_warp", "floor", "tilt")
        return [name for name in names if getattr(self, name) > 0]


class WaveformAugment(Spec):
    """Voicings of a recording, training only; every amount 0 is off (see `xmodal/data/views/waveform.py`).

    A live tower sees a new one in every epoch; a store of several `views` holds the recording and some voicings of it.
    """

    speed: Share = 0.0  # largest relative change, of pitch too
    room: float = Field(0.0, ge=0, le=5)  # s, the longest reverberation
    gain: float = Field(0.0, ge=0, le=60)  # dB, louder or quieter
    snr: tuple[float, float] | None = None  # dB, least and most, of the recording over added noise
    band: Share = 0.0  # how many of the recordings come through a narrower band, as over a telephone

    @property
    def is_active(self) -> bool:
        """Does this change anything?"""
        return self.snr is not None or any(amount > 0 for amount in (self.speed, self.room, self.gain, self.band))

    @model_validator(mode="after")
    def _snr(self) -> Self:
        if self.snr is not None and not self.snr[0] <= self.snr[1]:
            raise ValueError(f"snr {list(self.snr)}: expected [least, most] in dB")
        return self


class ImageAugment(Spec):
    """Augmentation of images, training only (see `xmodal/data/views/image.py`). Off unless set.

    `flip` is off by default: captions speak of left and right.
    """

    crop_scale: tuple[Positive, Positive] | None = None  # random resized crop: share of the area, least and most
    crop_ratio: tuple[Positive, Positive] = (0.75, 1.3333)  # of the crop, width / height
    pad: int = Field(0, ge=0)  # pixels of zeros around the image before a random crop back to its size
    flip: Share = 0.0  # probability of mirroring left and right
    rand_augment: int = Field(0, ge=0)  # operations per image (torchvision's RandAugment)
    magnitude: int = Field(9, ge=0, le=30)  # of them

    @property
    def is_active(self) -> bool:
        """Does this change anything?"""
        return self.crop_scale is not None or bool(self.pad or self.flip or self.rand_augment)

    @model_validator(mode="after")
    def _crop(self) -> Self:
        if self.crop_scale is not None and not self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale {list(self.crop_scale)}: expected [least, most] with least <= most <= 1")
        if self.crop_ratio[0] > self.crop_ratio[1]:
            raise ValueError(f"crop_ratio {list(self.crop_ratio)}: expected [least, most]")
        return self


class TextModality(Spec):
    """A manifest column of strings; or of lists of strings, one of which is drawn in every epoch.

    With `templates` the column holds class labels, and the captions are the templates filled with the class name.
    """

    kind: Literal["text"] = "text"
    column: str | None = None  # default: the modality's name
    templates: str | None = None  # a template set's name, or a YAML or .txt file
    names: Path | None = None  # JSON: label -> class name; default: underscores become spaces; goes with templates
    training_views: Count = 1  # texts of each pair in training, each drawn by itself from the row's list or templates

    @model_validator(mode="after")
    def _names(self) -> Self:
        if self.names is not None and self.templates is None:
            raise ValueError("names goes with templates")
        return self


class ImageModality(Spec):
    """A column of images: paths relative to the data's folder, places inside a tar, or the images' bytes."""

    kind: Literal["image"] = "image"
    column: str | None = None
    # an image with more is refused: a decompression bomb, or a map; Pillow takes none with more than twice this default
    max_pixels: int = Field(89_478_485, ge=1, le=178_956_970)
    augment: ImageAugment = ImageAugment()
    training_views: Count = 1  # augmented views of each item in training

    @model_validator(mode="after")
    def _views(self) -> Self:
        _require_differing(self.training_views, self.augment)
        return self


class AudioModality(Spec):
    """A manifest column of audio paths, relative to the manifest's folder."""

    kind: Literal["audio"] = "audio"
    column: str | None = None
    min_seconds: float = Field(0.05, ge=0)
    max_seconds: Positive = 30.0
    augment: SpeechAugment = SpeechAugment()
    waveform: WaveformAugment = WaveformAugment()
    training_views: Count = 1  # augmented views of each item in training

    @model_validator(mode="after")
    def _views(self) -> Self:
        _require_differing(self.training_views, self.augment, self.waveform)
        return self

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds:g} is above max_seconds {self.max_seconds:g}")
        return self


def _require_differing(views: int, *augments: ImageAugment | SpeechAugment | WaveformAugment) -> None:
    if views > 1 and not any(augment.is_active for augment in augments):
        raise ValueError(f"training_views {views}: all would be the same; set augment, or leave training_views out")


ModalitySpec = Annotated[TextModality | AudioModality | ImageModality, Field(discriminator="kind")]

STANDARD_MODALITIES: dict[str, type[TextModality] | type[AudioModality] | type[ImageModality]] = {
    "text": TextModality,
    "speech": AudioModality,
    "audio": AudioModality,
    "image": ImageModality,
}
MODALITY_OF_KIND: dict[str, type[TextModality] | type[AudioModality] | type[ImageModality]] = {
    "text": TextModality,
    "audio": AudioModality,
    "image": ImageModality,
}


def as_tested(name: str, kinds: Mapping[str, str], other: str = "image") -> ModalitySpec:
    """A modality in a test: the column of its name, as it is.

    Args:
        name: of the modality.
        kinds: name -> text, audio or image, as a model knows them.
        other: the kind of a name that is neither among these nor a usual one.

    Example:
        as_tested("sound", {"sound": "audio"})  # AudioModality()
    """
    known = MODALITY_OF_KIND.get(kinds.get(name, ""))
    return (known or STANDARD_MODALITIES.get(name) or MODALITY_OF_KIND[other])()


class DataSpec(Spec):
    """Paired data. `modalities` may be left out for the standard names text, speech, audio and image."""

    train: Path
    modalities: dict[str, ModalitySpec] = Field(default_factory=dict)
    leave_out_labels: tuple[str, ...] = ()  # of rows not trained on: classes for a zero-shot test
    streaming: bool = False  # read as it comes (hub:NAME, folders of tars or parquet files), shuffled in a buffer
    shuffle_buffer: Count = 10_000  # items, for streaming
    max_bad: Share = 0.01  # unreadable items are skipped, counted and listed up to this share, then an error
    buckets: int = Field(16, ge=0)  # length-bucketing: batches sorted together; 0 is off
    workers: int = Field(0, ge=0, le=256)
    cache_mb: int = Field(2048, ge=0)  # features kept in memory, per process; 0 is off
    made_by: str | None = None  # the command that makes the data, shown where it is missing
