"""Evaluators: what a config may say of them. Imports no torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from xmodal.config.spec import Count, Share, Spec


class SpeechIntentEvaluator(Spec):
    """Zero-shot spoken intents: class vectors from prompts and from example sentences (text only).

    Candidates are the labels of `examples`, else those of the test; a test label outside them counts as wrong.
    """

    kind: Literal["speech_intent"] = "speech_intent"
    test: Path  # manifest with the speech column, text, label
    examples: Path | None = None  # manifest of text and label (no id needed): the sentences behind class means
    prompts: str = "speech_intent"  # a template set's name, or a YAML or .txt file
    names: Path | None = None  # JSON: label -> readable name; default: underscores become spaces
    cluster: str | None = None  # manifest column whose equal values are resampled together; default: the sentence
    trained: bool = False  # these classes occur in training: prompted classification, not zero-shot
    synthetic: bool = False  # the speech is TTS; true in any case where xmodal synthesize made the test
    max_bad: Share = 0.01  # unreadable recordings are not scored, and counted, up to this share, then an error
    speech: str = "speech"  # the modalities' names
    text: str = "text"


class ZeroShotEvaluator(Spec):
    """Zero-shot classification of images (or audio): class vectors from prompts over the class names."""

    kind: Literal["zero_shot"] = "zero_shot"
    test: Path  # anything `data.train` may be
    column: str | None = None  # of the items; default: the modality's name
    label: str | None = None  # column of the labels; default: labels (lists: several per item), else label
    prompts: str = "plain"  # a template set's name, or a YAML or .txt file
    # JSON: label -> class name; or .txt: of the labels 0, 1, ...; default: underscores become spaces
    names: Path | None = None
    # labels; or a subset's name (imagenet_r, ...), or a file of labels, one a line: items of others are left out
    classes: str | tuple[str, ...] | None = None
    cluster: str | None = None  # column whose equal values are resampled together; default: every item for itself
    trained: bool = False  # these classes occur in training: prompted classification, not zero-shot
    synthetic: bool = False  # the items are synthetic (rendered images, TTS)
    max_bad: Share = 0.01
    items: str = "image"  # the modalities' names
    text: str = "text"


class RetrievalEvaluator(Spec):
    """Retrieval in both directions over pairs; equal item ids are one item, so an image may have several captions."""

    kind: Literal["retrieval"] = "retrieval"
    test: Path
    column: str | None = None  # of the items; default: the modality's name
    text_column: str | None = None  # of the texts, likewise
    ks: tuple[Count, ...] = Field((1, 5, 10), min_length=1)  # recall@k
    max_bad: Share = 0.01
    items: str = "image"  # the modalities' names
    text: str = "text"


EvaluatorSpec = Annotated[SpeechIntentEvaluator | ZeroShotEvaluator | RetrievalEvaluator, Field(discriminator="kind")]
