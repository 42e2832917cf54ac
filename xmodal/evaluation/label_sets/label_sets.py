"""Several label sets over one recording: what size, which drink? Each set is a classification over the same embedding.

Fluent Speech Commands is one (an utterance is right where action, object and location are), slots of a request are
another. Protocol: "Several label sets" in docs/evaluation.md. Axes: n recordings, C values of a set, D embedding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from xmodal.errors import UserError
from xmodal.evaluation.classification.prompted import PromptedRecordings
from xmodal.prompts import fill, load_templates

if TYPE_CHECKING:
    from torch import Tensor

    from xmodal.encoding.encoder import Encoder
    from xmodal.evaluation.evaluator import Evaluator
    from xmodal.evaluation.test_sets.labelled import LabelledItems
    from xmodal.report.report import Report


class LabelSets(PromptedRecordings):
    """The evaluator: an encoder in, a report out; the same object runs during training and from the command line.

    Metrics, by set and, under the name `all`, for all sets together: accuracy_SET_KIND, majority_SET; with true texts
    oracle_SET_KIND, with a cascade cascade_SET_KIND and speech_minus_cascade_SET_KIND. KIND is prompt, and mean where
    there are example phrases.

    Args:
        spec: the evaluator's part of the config.
        kinds: modality -> text, audio or image; the recordings' is audio unless this says otherwise.

    Raises:
        UserError: unreadable files, a set without its column or without a value in it, a value without a phrase.

    Example:
        sets = {"size": ("small", "large"), "drink": ("latte", "mocha")}
        LabelSets(LabelSets.Spec(test="orders.jsonl", labels=sets)).evaluate(encoder, "orders")
    """

    class Spec(PromptedRecordings.Spec):
        """Several label sets over the same recordings, each in a column of the test by its name."""

        labels: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # set -> its values
        examples: Path | None = None  # manifest of text, and columns of the sets: the phrases behind class means
        # recordings (of training or dev) whose mean is taken off the items, while each set's classes lose their own
        centre: Path | None = None
        cascade: str | None = None  # a Whisper, or a file of transcripts (.jsonl: id, text)
        speech: str = "speech"  # the side under test

        @field_validator("labels")
        @classmethod
        def _sets(cls, labels: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
            for name, values in labels.items():
                if not re.fullmatch(r"\w+", name) or name == "all":
                    raise ValueError(f"{name!r}: expected the name of a column, letters, digits and _, and not all")
                if len(set(values)) < 2 or len(set(values)) < len(values):
                    raise ValueError(f"{name}: {', '.join(values)}: expected two or more values, each once")
            return labels

        def sides(self) -> dict[str, str]:
            """The recordings' and the texts'."""
            return {"speech": self.speech, "text": self.text}

    def __init__(self, spec: Spec, kinds: Mapping[str, str] | None = None) -> None:
        from xmodal.evaluation.cascade.cascade import Cascade
        from xmodal.evaluation.label_sets.phrases import read_phrases
        from xmodal.evaluation.test_sets.classes import named_classes

        self.spec: LabelSets.Spec = spec
        self.modality = spec.speech
        self.templates = load_templates(spec.prompts)
        if not spec.labels:
            raise UserError(f"{spec.test}: no label sets; name one at least, as labels: {{size: [small, large]}}")
        self.test = self._read(spec.test, kinds, list(spec.labels))
        for name, values in spec.labels.items():
            if not set(values) & set(self.test.further[name]):
                there = sorted({str(value) for value in self.test.further[name] if value is not None})[:5]
                raise UserError(
                    f"{spec.test}: labels.{name}: none of {', '.join(values)} occurs in column {name!r}, which holds "
                    f"{', '.join(there) or 'no value'}; name values that do"
                )
        every = list(dict.fromkeys(value for values in spec.labels.values() for value in values))
        self.classes = named_classes(every, spec.names, spec.test, {})
        self.names = dict(zip(every, self.classes.names, strict=True))
        self.phrases = read_phrases(spec.examples, spec.labels, self.names) if spec.examples else {}
        self.centre = None if spec.centre is None else self._read(spec.centre, kinds, [])
        if spec.cascade is not None:
            self.cascade = Cascade(spec.cascade, self.test, spec.text)

    def _read(self, path: Path, kinds: Mapping[str, str] | None, sets: Sequence[str]) -> LabelledItems:
        from xmodal.evaluation.test_sets.labelled import read_unlabelled

        spec, cluster = self.spec, self.spec.cluster if sets else None
        known, optional = {spec.speech: "audio"} | dict(kinds or {}), [spec.text, *spec.labels]
        found = read_unlabelled(path, spec.speech, cluster, known, optional, speakers=True)
        missing = [name for name in sets if name not in found.columns]
        if missing:
            there = ", ".join(sorted(found.columns))
            raise UserError(f"{path}: missing column {missing[0]!r} (of the label set of this name); found: {there}")
        return found

    def _further_content(self) -> Sequence[Any]:
        from xmodal.encoding.embedding_cache import digest_of

        columns = {name: values.tolist() for name, values in self.test.further.items()}
        centre = None if self.centre is None else digest_of(self.centre.sources)
        return [self.spec.labels, columns, self.phrases, centre]

    def _beside(self) -> Sequence[LabelledItems]:
        return [] if self.centre is None else [self.centre]

    def trained(self, encoder: Encoder) -> list[str]:
        """Values that occur in training, as far as the run's own labels tell."""
        return self.classes.seen(self.classes.labels, encoder.trained_labels)

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from."""
        kinds = ("prompt", "mean") if self.phrases else ("prompt",)
        return {f"accuracy_{name}_{kind}" for name in (*self.spec.labels, "all") for kind in kinds}

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves tables and pictures out."""
        from xmodal.evaluation.classification.heard_items import costs, true_texts
        from xmodal.evaluation.label_sets.set_report import set_notes, show
        from xmodal.evaluation.label_sets.set_scores import SetScores, moved

        spec, title = self.spec, None if brief else name
        z, test, _, skipped = self.encoded(encoder, title)
        context: dict[str, Any] = {
            "templates": len(self.templates),
            "zero_shot": self.unseen(encoder),
            "clusters": test.clustered_by or "every recording for itself",
            "centre": None if spec.centre is None else str(spec.centre),
        }
        scores = SetScores(name, test, spec.labels, context)
        vectors, z = self._vectors(encoder), moved(z, self._speech_mean(encoder, title))
        for kind, of_sets in vectors.items():
            scores.add("accuracy", kind, z, of_sets)
        true = true_texts(test, spec.text)
        heard = None if self.cascade is None else self.cascade.heard(encoder, test, title)
        text_mean = self._text_mean(encoder)
        uncentred = self.centre is not None and text_mean is None  # such texts cannot be compared with centred classes
        for kind, of_sets in {} if uncentred else vectors.items():
            if heard is not None:
                scores.add("cascade", kind, moved(heard.z, text_mean), of_sets, heard.answered)
            if true is not None:
                z_true = encoder.remember(spec.text, (self, tuple(true)), lambda: encoder.encode(spec.text, true))
                scores.add("oracle", kind, moved(z_true, text_mean), of_sets)
        scores.differences()
        scores.majorities()
        report = scores.report(f"Several label sets: {name}")
        report.notes += [
            *self.notes(name, skipped, encoder, of_run=False),
            *set_notes(scores, spec.centre, self.phrases, true, uncentred and (heard or true) is not None),
        ]
        if self.cascade is not None and heard is not None:
            report.notes += self.cascade.notes(name, heard)
            if not brief:
                report = report.merge(costs(self.cascade, encoder, self.modality, name, test, heard, true))
        if not brief:
            show(report, scores, "mean" if self.phrases else "prompt")
        return report

    def _vectors(self, encoder: Encoder) -> dict[str, dict[str, Tensor]]:
        """Kind -> set -> [C, D] unit norm; with `centre` without their mean."""
        from xmodal.evaluation.classification.class_vectors import class_vectors
        from xmodal.evaluation.label_sets.set_scores import moved

        text = self.spec.text
        found: dict[str, dict[str, Tensor]] = {}
        said = {s: [fill(self.templates, self.names[v]) for v in values] for s, values in self.spec.labels.items()}
        for kind, sets in {"prompt": said, "mean": self.phrases}.items():
            for name, groups in sets.items():

                def make(groups: Any = groups) -> Tensor:
                    return class_vectors(encoder, text, groups)

                made = encoder.remember(text, (self, kind, name), make)
                found.setdefault(kind, {})[name] = moved(made, None if self.centre is None else made.mean(0))
        return found

    def _speech_mean(self, encoder: Encoder, title: str | None) -> Tensor | None:
        """The mean of the recordings to centre by, [D]."""
        return None if self.centre is None else self.encoded(encoder, title, self.centre).z.mean(0)

    def _text_mean(self, encoder: Encoder) -> Tensor | None:
        """The mean of what is said in them, [D]; None where that is not told."""
        found = None if self.centre is None else self.centre.further.get(self.spec.text)
        texts = [str(text) for text in found if text is not None] if found is not None else []
        text = self.spec.text
        made = encoder.remember(text, (self, "centre"), lambda: encoder.encode(text, texts)) if texts else None
        return None if made is None else made.mean(0)


if TYPE_CHECKING:
    _is_evaluator: type[Evaluator] = LabelSets
