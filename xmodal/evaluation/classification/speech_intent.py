"""Zero-shot spoken intents: which of C intents, given as text, does an utterance mean?

Zero-shot classification with two things more: class vectors from (mean) example sentences of each intent, beside those
from (prompt) templates; and an oracle, the true transcript through the text tower with the same class vectors, which
together with the majority class says what an accuracy is worth. Protocol: "Speech to intent" in docs/evaluation.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmodal.errors import UserError
from xmodal.evaluation.classification.prompted import PromptedRecordings
from xmodal.prompts import load_templates

if TYPE_CHECKING:
    from torch import Tensor

    from xmodal.encoding.encoder import Encoder
    from xmodal.evaluation.evaluator import Evaluator
    from xmodal.evaluation.test_sets.labelled import LabelledItems
    from xmodal.report.report import Report

SYNTHESIZED = {"voice", "rate", "pitch", "range"}  # columns that xmodal synthesize adds


class SpeechIntent(PromptedRecordings):
    """The evaluator: an encoder in, a report out; the same object runs during training and from the command line.

    Candidates are the labels of `examples`, else those of the test; a test label outside them counts as wrong. Where
    the test has fewer of them (two at least), all is scored again among these: metrics `..._among_test`.

    Args:
        spec: the evaluator's part of the config.
        kinds: modality -> text, audio or image; the recordings' is audio unless this says otherwise.

    Raises:
        UserError: unreadable files, an example sentence that occurs in the test, no labels.
    """

    class Spec(PromptedRecordings.Spec):
        """Zero-shot spoken intents: class vectors from prompts and from example sentences (text only)."""

        prompts: str = "speech_intent"
        examples: Path | None = None  # manifest of text and label (no id needed): the sentences behind class means
        label: str = "label"  # column of the intents, in the test and in the examples
        speech: str = "speech"  # the side under test; the test has its column, a column of the text side, and label
        # a Whisper, or a file of transcripts (.jsonl: id, text), whose texts are scored beside the recordings
        cascade: str | None = None
        # chooses the threshold of "none of these"; a recording is that where its label is null, or no candidate
        dev: Path | None = None

        def sides(self) -> dict[str, str]:
            """The recordings' and the texts'."""
            return {"speech": self.speech, "text": self.text}

    def __init__(self, spec: Spec, kinds: Mapping[str, str] | None = None) -> None:
        from xmodal.evaluation.cascade.cascade import Cascade
        from xmodal.evaluation.classification.examples import read_examples, require_apart
        from xmodal.evaluation.open_set.open_set import OpenSet
        from xmodal.evaluation.test_sets.classes import in_order, named_classes

        self.spec: SpeechIntent.Spec = spec
        self.modality = spec.speech
        self.templates = load_templates(spec.prompts)
        whole = self._read(spec.test, kinds)
        labelled = [at for at, label in enumerate(whole.labels) if label is not None]
        self.test = whole if spec.dev is None else whole.part(labelled)
        self.examples = read_examples(spec.examples, spec.label) if spec.examples else {}
        labels = in_order(set(self.examples) or self.test.found())
        if len(labels) < 2:
            raise UserError(
                f"{spec.examples or spec.test}: {f'one intent ({labels[0]})' if labels else 'no intent'}, expected two "
                "or more to choose among"
            )
        self.classes = named_classes(labels, spec.names, spec.test, {})
        among = tuple(label for label in labels if label in self.test.found())
        # what is scored: suffix of the metrics -> candidates
        self.subsets = {"": self.classes.labels} | ({"_among_test": among} if 1 < len(among) < len(labels) else {})
        require_apart(spec.examples, self.examples, whole.further[spec.text])
        if spec.cascade is not None:
            self.cascade = Cascade(spec.cascade, self.test, spec.text)
        if spec.dev is not None:
            outside = whole.part(sorted(set(range(len(whole))) - set(labelled)))
            self.open_set = OpenSet(spec.test, self._read(spec.dev, kinds), outside, self.classes.labels)

    def _read(self, path: Path, kinds: Mapping[str, str] | None) -> LabelledItems:
        """A test; recordings of one speaker belong together, or of one sentence: they are not independent."""
        from xmodal.evaluation.test_sets.labelled import read_labelled

        spec = self.spec
        kinds = {spec.speech: "audio"} | dict(kinds or {})
        texts, nulls = [spec.text], spec.dev is not None
        found = read_labelled(
            path, spec.speech, spec.cluster, kinds, label=spec.label, further=texts, nulls=nulls, speakers=True
        )
        if found.several is not None:
            raise UserError(f"{path}: column {spec.label!r} holds lists; an utterance has one intent")
        clusters = found.clusters if found.clustered_by else found.further[spec.text]
        return dataclasses.replace(found, clusters=clusters.astype(str).astype(object))

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
        from xmodal.evaluation.classification.heard_items import costs
        from xmodal.evaluation.classification.intent_report import IntentScores, show
        from xmodal.report.fonts import notes_on_glyphs

        spec, labels, title = self.spec, self.classes.labels, None if brief else name
        vectors = self._vectors(encoder)
        sentences = self.test.further[spec.text].tolist()
        texts: Tensor = encoder.remember(spec.text, (self, "texts"), lambda: encoder.encode(spec.text, sentences))
        speech, test, rows, skipped = self.encoded(encoder, title)
        texts = texts[rows]
        heard = None if self.cascade is None else self.cascade.heard(encoder, test, title)
        context: dict[str, Any] = {
            "templates": len(self.templates),
            "zero_shot": self.unseen(encoder),
            "tts": self.synthetic,
            "clusters": test.clustered_by or "sentence",
        }
        scores = IntentScores(name, test, labels, {label: len(s) for label, s in self.examples.items()}, context)
        for suffix, among in self.subsets.items():
            scores.add(speech, texts, vectors, suffix, among, heard)
        report = scores.report(tables=() if brief else tuple(self.subsets))
        report.notes += self.notes(name, skipped, encoder, of_run=False)
        outside = sorted(set(test.labels) - set(labels))
        if outside:
            report.notes.append(f"{name}: not among the candidates, so always wrong: {', '.join(outside)}.")
        if self.cascade is not None and heard is not None:
            report.notes += self.cascade.notes(name, heard)
            if not brief:
                true = [sentences[row] for row in rows]
                report = report.merge(costs(self.cascade, encoder, self.modality, name, test, heard, true))
        if self.open_set is not None:

            def encode(items: LabelledItems) -> tuple[Tensor, LabelledItems]:
                return self.encoded(encoder, title, items)[:2]

            kinds = {f"_{kind}": of_classes for kind, of_classes in vectors.items()}
            context["candidates"] = list(labels)
            report = report.merge(self.open_set.report(name, encode, speech, test, kinds, context, brief))
        if not brief:
            show(report, name, test, speech, texts, spec.text)
            report.notes += notes_on_glyphs([name, *labels, *test.labels])
        return report

    def _vectors(self, encoder: Encoder) -> dict[str, Tensor]:
        """Kind of class vector -> [C, D] unit norm."""
        from xmodal.evaluation.classification.class_vectors import class_vectors

        text, vectors = self.spec.text, {"prompt": self.class_vectors(encoder)}
        if self.examples:
            groups = [self.examples[label] for label in self.classes.labels]
            vectors["mean"] = encoder.remember(text, (self, "means"), lambda: class_vectors(encoder, text, groups))
        return vectors


if TYPE_CHECKING:
    _is_evaluator: type[Evaluator] = SpeechIntent
