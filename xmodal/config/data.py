"""Paired data, and what each modality is: what a config may say of them. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xmodal.config.augment.amounts import Augment
from xmodal.config.augment.audio import SpeechAugment, WaveformAugment, Windows
from xmodal.config.augment.image import ImageAugment
from xmodal.config.augment.text import TextAugment
from xmodal.config.spec import Count, Positive, Share, Spec


class TextModality(Spec):
    """A manifest column of strings; or of lists of strings, one of which is drawn in every epoch.

    With `templates` the column holds class labels, and the captions are the templates filled with the class name.
    """

    kind: Literal["text"] = "text"
    column: str | None = None  # default: the modality's name
    templates: str | None = None  # a template set's name, or a YAML or .txt file
    names: Path | None = None  # JSON: label -> class name; default: underscores become spaces; goes with templates
    augment: TextAugment = TextAugment()
    # texts of each pair in training, each drawn by itself from the row's list or templates, and augmented by itself
    training_views: Count = 1

    @model_validator(mode="after")
    def _names(self) -> Self:
        if self.names is not None and self.templates is None:
            raise ValueError("names goes with templates")
        if self.augment.alternatives is not None and self.templates is not None:
            raise ValueError("augment.alternatives are wordings of a text; captions made from templates have none")
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
    windows: Windows | None = None  # the views of a recording are neighbouring windows of it
    training_views: Count = 1  # augmented views of each item in training

    @model_validator(mode="after")
    def _views(self) -> Self:
        if self.windows is None:
            _require_differing(self.training_views, self.augment, self.waveform, way_out="augment, or windows")
            return self
        needed = self.windows.span(self.training_views)
        if needed > self.max_seconds:
            raise ValueError(
                f"windows: {self.training_views} of {self.windows.seconds:g} s need {needed:g} s, and no recording is "
                f"longer than max_seconds {self.max_seconds:g}; set shorter windows, or a larger max_seconds"
            )
        return self

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds:g} is above max_seconds {self.max_seconds:g}")
        return self


def _require_differing(views: int, *augments: Augment, way_out: str = "augment") -> None:
    if views > 1 and not any(augment.is_active for augment in augments):
        raise ValueError(f"training_views {views}: all would be the same; set {way_out}, or leave training_views out")


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


class ClusterSpec(Spec):
    """Natural clusters of one side's items as the labels of the pairs (see `xmodal/training/clusters.py`)."""

    side: str  # whose items are clustered
    count: int = Field(64, ge=2)  # clusters
    # never: once, by the features that a store holds; or every so many epochs, by the embeddings of a tower that trains
    refresh: Literal["never"] | Count = "never"


class DataSpec(Spec):
    """Paired data. `modalities` may be left out for the standard names text, speech, audio and image."""

    train: Path
    modalities: dict[str, ModalitySpec] = Field(default_factory=dict)
    leave_out_labels: tuple[str, ...] = ()  # of rows not trained on: classes for a zero-shot test
    clusters: ClusterSpec | None = None  # labels for objectives that need them, in place of the manifest's
    streaming: bool = False  # read as it comes (hub:NAME, folders of tars or parquet files), shuffled in a buffer
    shuffle_buffer: Count = 10_000  # items, for streaming
    max_bad: Share = 0.01  # unreadable items are skipped, counted and listed up to this share, then an error
    buckets: int = Field(16, ge=0)  # length-bucketing: batches sorted together; 0 is off
    workers: int = Field(0, ge=0, le=256)
    cache_mb: int = Field(2048, ge=0)  # features kept in memory, per process; 0 is off
    made_by: str | None = None  # the command that makes the data, shown where it is missing
