"""Zero-shot spoken intents: which of C intents, given as text, does an utterance mean?

Zero-shot classification with two things more: class vectors from (mean) example sentences of each intent, beside those
from (prompt) templates; and an oracle, the true transcript through the text tower with the same class vectors, which
together with the majority class says what an accuracy is worth. Protocol: "Speech to intent" in docs/evaluation.md.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmodal.errors import UserError
from xmodal.evaluation.classification.prompted import PromptedClassification
from xmodal.prompts import fill, is_unicode, load_templates

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from xmodal.encoding.encoder import Encoder, Item
    from xmodal.evaluation.evaluator import Evaluator
    from xmodal.report.report import Report

SYNTHESIZED = {"voice", "rate", "pitch", "range"}  # columns that xmodal synthesize adds


class SpeechIntent(PromptedClassification):
    """The evaluator: an encoder in, a report out; the same object runs during training and from the command line.

    Candidates are the labels of `examples`, else those of the test; a test label outside them counts as wrong. Where
    the test has fewer of them (two at least), all is scored again among these: metrics `..._among_test`.

    Args:
        spec: the evaluator's part of the config.
        kinds: modality -> text, audio or image; the recordings' is audio unless this says otherwise.

    Raises:
        UserError: unreadable files, an example sentence that occurs in the test, no labels.
    """

    class Spec(PromptedClassification.Spec):
        """Zero-shot spoken intents: class vectors from prompts and from example sentences (text only)."""

        prompts: str = "speech_intent"
        examples: Path | None = None  # manifest of text and label (no id needed): the sentences behind class means
        speech: str = "speech"  # the side under test; the test has its column, a column of the text side, and label

        def sides(self) -> dict[str, str]:
            """The recordings' and the texts'."""
            return {"speech": self.speech, "text": self.text}

    what = "recordings"
    of_synthetic = "the speech is synthetic (TTS); it says nothing yet about human speech."

    def __init__(self, spec: Spec, kinds: Mapping[str, str] | None = None) -> None:
        from xmodal.evaluation.test_sets.classes import in_order, named_classes
        from xmodal.evaluation.test_sets.labelled import read_labelled

        super().__init__()
        self.spec: SpeechIntent.Spec = spec
        self.modality = spec.speech
        self.templates = load_templates(spec.prompts)
        test = read_labelled(
            spec.test,
            spec.speech,
            spec.cluster or spec.text,  # recordings of one sentence are not independent
            {spec.speech: "audio"} | dict(kinds or {}),
            label="label",
            further=[spec.text],
        )
        if test.several is not None:
            raise UserError(f"{spec.test}: column 'label' holds lists; an utterance has one intent")
        self.test = dataclasses.replace(test, clusters=test.clusters.astype(str).astype(object))
        self.examples = _read_examples(spec.examples) if spec.examples else {}
        labels = in_order(set(self.examples) or test.found())
        if len(labels) < 2:
            raise UserError(
                f"{spec.examples or spec.test}: one intent ({labels[0]}), expected two or more to choose among"
            )
        self.classes = named_classes(labels, spec.names, spec.test, {})
        among = tuple(label for label in labels if label in test.found())
        # what is scored: suffix of the metrics -> candidates
        self.subsets = {"": self.classes.labels} | ({"_among_test": among} if 1 < len(among) < len(labels) else {})
        tested = {_plain(text) for text in test.further[spec.text]}
        for label, sentences in self.examples.items():
            for sentence in sentences:
                if _plain(sentence) in tested:
                    raise UserError(
                        f"{spec.examples}: {sentence!r} (intent {label}) is also a test sentence; "
                        "take it out of the examples, class means must not contain the test"
                    )

    @property
    def synthetic(self) -> bool:
        """Is the speech TTS: is that said, or written in the test's columns?"""
        return self.spec.synthetic or self.test.columns >= SYNTHESIZED

    def _further_content(self) -> Sequence[Any]:
        return [self.test.further[self.spec.text].tolist(), self.examples]

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from. Not `of_oracle_*`: an oracle that is never right gives none."""
        kinds = ("prompt", "mean") if self.examples else ("prompt",)
        return {
            f"{source}_{kind}{suffix}" for source in ("accuracy", "oracle") for kind in kinds for suffix in self.subsets
        }

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves tables and pictures out."""
        from xmodal.evaluation.classification.class_vectors import class_vectors
        from xmodal.evaluation.classification.intent_report import IntentScores, intent_pictures
        from xmodal.report.fonts import notes_on_glyphs

        spec, labels = self.spec, self.classes.labels
        vectors = {"prompt": self.class_vectors(encoder)}
        if self.examples:
            groups = [self.examples[label] for label in labels]
            made = self._memo.of(encoder, spec.text, "means", lambda: class_vectors(encoder, spec.text, groups))
            vectors["mean"] = made
        sentences = self.test.further[spec.text].tolist()
        texts: Tensor = self._memo.of(encoder, spec.text, "texts", lambda: encoder.encode(spec.text, sentences))
        speech, test, rows, skipped = self.encoded(encoder, None if brief else name)
        texts = texts[rows]
        context: dict[str, Any] = {
            "templates": len(self.templates),
            "zero_shot": not (spec.trained or self.trained(encoder)),
            "tts": self.synthetic,
            "clusters": spec.cluster or "sentence",
        }
        scores = IntentScores(name, test, labels, {label: len(s) for label, s in self.examples.items()}, context)
        for suffix, among in self.subsets.items():
            scores.add(speech, texts, vectors, suffix, among)
        report = scores.report(tables=() if brief else tuple(self.subsets))
        report.notes += self.notes(name, skipped, encoder, of_run=False)
        outside = sorted(set(test.labels) - set(labels))
        if outside:
            report.notes.append(f"{name}: not among the candidates, so always wrong: {', '.join(outside)}.")
        if not brief:
            report.figures.update(intent_pictures(name, test, speech, texts, report.predictions))
            report.notes += notes_on_glyphs([name, *labels, *test.labels])
        return report


def rank_intents(
    encoder: Encoder,
    audio: Sequence[Item],
    intents: Sequence[str],
    templates: Sequence[str],
    sample_rate: int | None = None,
    speech: str = "speech",
    text: str = "text",
) -> list[list[tuple[str, float]]]:
    """Per recording the typed intents with their cosine similarity, best first.

    Raises:
        UserError: no intents, or a recording that cannot be read.
    """
    from xmodal.evaluation.classification.class_vectors import class_vectors

    if not intents or not all(intent.strip() for intent in intents):
        what = "an empty intent" if intents else "no intents to choose among"
        raise UserError(f'{what}: give --intent "turn on the lights" at least once')
    astray = [intent for intent in intents if not is_unicode(intent)]
    if astray:
        raise UserError(f"intent {astray[0]!r}: not Unicode text; type it anew")
    intents = list(dict.fromkeys(intents))
    vectors = class_vectors(encoder, text, [fill(list(templates), intent) for intent in intents])
    scores: np.ndarray = (encoder.encode(speech, audio, sample_rate) @ vectors.T).numpy()
    return [sorted(zip(intents, row.tolist(), strict=True), key=lambda pair: -pair[1]) for row in scores]


def _plain(sentence: str) -> str:
    """Case, punctuation and spacing aside."""
    return " ".join(re.sub(r"[^\w\s]", "", sentence.lower()).split())


def _read_examples(path: Path) -> dict[str, list[str]]:
    from xmodal.data.manifest import read_manifest

    rows = read_manifest(path, ("text", "label"), ids=False)
    examples: dict[str, list[str]] = {}
    for number, (text, label) in enumerate(zip(rows["text"], rows["label"], strict=True), start=1):
        if not text.strip():
            raise UserError(f"{path}: row {number}: an empty example of {label!r}; fill or remove it")
        examples.setdefault(label, []).append(text)
    return examples


if TYPE_CHECKING:
    _is_evaluator: type[Evaluator] = SpeechIntent
