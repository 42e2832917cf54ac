"""Zero-shot spoken intents: which of C intents, given as text, does an utterance mean?

Class vectors come from (prompt) templates filled with a readable intent name, and from (mean) example sentences of
each intent; both are text only. Each score stands between the majority class and the oracle: the true transcript
through the text tower, with the same class vectors. Protocol: "Speech to intent" in docs/evaluation.md.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from xmodal.config.evaluators import SpeechIntentEvaluator
from xmodal.data.manifest import read_manifest, root_of
from xmodal.data.unusable import Bad, require_usable
from xmodal.encoding.encoder import Encoder, Item
from xmodal.encoding.kept import digest_of
from xmodal.errors import UserError
from xmodal.evaluation.classification.class_vectors import class_vectors
from xmodal.evaluation.classification.score_sheet import ScoreSheet
from xmodal.evaluation.statistics.metrics import per_class_table
from xmodal.evaluation.test_sets.located import unusable_files
from xmodal.prompts import fill, load_templates, read_names, readable
from xmodal.report.figures import confusion, similarity_matrix
from xmodal.report.report import Report

PICTURED = 240  # items in a similarity matrix
SYNTHESIZED = {"voice", "rate", "pitch", "range"}  # columns that xmodal synthesize adds


@dataclass(frozen=True)
class Candidates:
    """The intents to choose among, and their class vectors by kind ("prompt", "mean"), each [C, D] unit norm."""

    labels: tuple[str, ...]
    vectors: dict[str, Tensor]
    examples: dict[str, int]  # label -> number of example sentences behind its mean


class SpeechIntent:
    """The evaluator: an encoder in, a report out; the same object runs during training and from `eval/`.

    Args:
        spec: the evaluator's part of the config.
        kinds: of the model's modalities; the two named in the spec are audio and text in any case.

    Raises:
        UserError: (from `evaluate`) unreadable files, an example sentence that occurs in the test, no labels.
    """

    def __init__(self, spec: SpeechIntentEvaluator, kinds: Mapping[str, str] | None = None) -> None:
        self.spec = spec
        self.templates = load_templates(spec.prompts)
        columns = (spec.text, spec.speech, "label", *((spec.cluster,) if spec.cluster else ()))
        self.test = read_manifest(spec.test, columns).to_pandas()
        self.modality = spec.speech
        self.files = [root_of(spec.test) / path for path in self.test[spec.speech]]
        self.synthetic = spec.synthetic or set(self.test.columns) >= SYNTHESIZED
        self.examples = _read_examples(spec.examples) if spec.examples else {}
        self.names = read_names(spec.names)
        self.text_side: tuple[Encoder, Candidates, Tensor] | None = None  # where the text tower is fixed
        candidates = set(self.examples or self.test["label"])
        if len(candidates) < 2:
            one = ", ".join(map(str, candidates))
            raise UserError(f"{spec.examples or spec.test}: one intent ({one}), expected two or more to choose among")
        seen = {_plain(t) for t in self.test[spec.text]}
        for label, sentences in self.examples.items():
            for sentence in sentences:
                if _plain(sentence) in seen:
                    raise UserError(
                        f"{spec.examples}: {sentence!r} (intent {label}) is also a test sentence; "
                        "take it out of the examples, class means must not contain the test"
                    )

    def content(self) -> str:
        """A digest of recordings, texts, labels, examples and templates."""
        rows = self.test.astype(str).to_dict("list")
        return digest_of(self.files, [rows, self.examples, self.templates, dict(self.names)])

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from, after the evaluator's own."""
        kinds = ("prompt", "mean") if self.examples else ("prompt",)
        names = {f"{source}_{kind}" for source in ("accuracy", "oracle", "of_oracle") for kind in kinds}
        return names | {f"{name}_among_test" for name in names}

    def check(self) -> None:
        """Read the headers of the test's audio files: a test that cannot be scored stops a run before it trains.

        Raises:
            UserError: more than `max_bad` of the files are missing or are no audio.
        """
        self._require_usable(unusable_files(self.files, "audio"))

    def _require_usable(self, bad: Sequence[Bad]) -> None:
        require_usable(self.spec.test, len(self.test), bad, self.spec.max_bad, "the evaluator's max_bad")

    def candidates(self, encoder: Encoder) -> Candidates:
        """Labels and class vectors: the examples' labels, else the test's own."""
        labels = tuple(sorted(self.examples or set(self.test["label"])))
        names = [self.names.get(label, readable(label)) for label in labels]
        vectors = {"prompt": class_vectors(encoder, self.spec.text, [fill(self.templates, n) for n in names])}
        if self.examples:
            vectors["mean"] = class_vectors(encoder, self.spec.text, [self.examples[label] for label in labels])
        return Candidates(labels, vectors, {label: len(s) for label, s in self.examples.items()})

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves tables and pictures out."""
        spec = self.spec
        if self.text_side is not None and self.text_side[0] is encoder:
            _, candidates, texts = self.text_side
        else:
            candidates, texts = self.candidates(encoder), encoder.encode(spec.text, list(self.test[spec.text]))
            if encoder.is_fixed(spec.text):
                self.text_side = encoder, candidates, texts
        speech, kept, skipped = encoder.encode_readable(spec.speech, self.files, progress=None if brief else name)
        self._require_usable([(str(self.test["id"][row]), reason) for row, reason in skipped])
        test = self.test.iloc[kept].reset_index(drop=True)
        texts = texts[kept]
        seen = sorted(set(self.test["label"]) & encoder.trained_labels)
        report = self._scores(name, test, speech, texts, candidates, seen, tables=not brief)
        if skipped:
            report.notes.append(
                f"{name}: {len(skipped)} of {len(self.test)} recordings could not be read and are not scored, "
                f"the first: {skipped[0][1]}"
            )
        if not brief:
            report.figures.update(self._pictures(name, test, speech, texts, report.predictions))
        return report

    def _scores(
        self,
        name: str,
        test: pd.DataFrame,
        speech: Tensor,
        texts: Tensor,
        c: Candidates,
        seen: Sequence[str],
        tables: bool,
    ) -> Report:
        true = test["label"].to_numpy(dtype=object)
        clusters = test[self.spec.cluster or self.spec.text].to_numpy(dtype=object)
        sheet = ScoreSheet(name, test["id"].to_numpy(), true, clusters)
        among = tuple(label for label in c.labels if label in set(true))
        subsets = {"": c.labels} | ({"_among_test": among} if 1 < len(among) < len(c.labels) else {})
        for suffix, labels in subsets.items():
            self._score_among(sheet, speech, texts, c, suffix, labels, zero_shot=not (self.spec.trained or seen))
        notes = self._notes(name, sorted(set(true) - set(c.labels)), seen)
        title = f"Spoken intents: {name}"
        report = Report(title=title, records=sheet.records, predictions=sheet.predictions(), notes=notes)
        for suffix in subsets if tables else ():
            title = f"{name}: per intent" + suffix.replace("_", " ")
            report.tables[title] = self._per_intent(report.predictions, c, suffix)
        return report

    def _score_among(
        self,
        sheet: ScoreSheet,
        speech: Tensor,
        texts: Tensor,
        c: Candidates,
        suffix: str,
        labels: tuple[str, ...],
        zero_shot: bool,
    ) -> None:
        """Speech and its oracle, the true text, among the candidates `labels`; then one over the other."""
        context: dict[str, Any] = {
            "candidates": list(labels),
            "templates": len(self.templates),
            "zero_shot": zero_shot,
            "tts": self.synthetic,
            "clusters": self.spec.cluster or "sentence",
        }
        rows = [c.labels.index(label) for label in labels]
        hits = {}
        for source, z, what in (("accuracy", speech, "speech"), ("oracle", texts, "true text")):
            for kind, vectors in c.vectors.items():
                detail = context | {"class_vectors": kind, "input": what}
                if kind == "mean":
                    detail["examples"] = sum(c.examples[label] for label in labels)
                scores = (z @ vectors[rows].T).numpy()
                hits[source, kind] = sheet.score(f"{source}_{kind}{suffix}", scores, labels, detail)
        for kind in c.vectors:
            sheet.ratio(f"of_oracle_{kind}{suffix}", hits["accuracy", kind], hits["oracle", kind], context)
        sheet.majority(f"majority{suffix}", len(labels), context)

    def _per_intent(self, predictions: pd.DataFrame, c: Candidates, suffix: str) -> pd.DataFrame:
        columns: dict[str, pd.Series] = {}
        for kind in c.vectors:
            for source in ("accuracy", "oracle"):
                rows = predictions[predictions["protocol"] == f"{source}_{kind}{suffix}"]
                table = per_class_table(
                    rows["true"].to_numpy(), rows["predicted"].to_numpy(), rows["cluster"].to_numpy()
                ).set_index("label")
                columns.setdefault("n", table["n"])
                columns[f"{source}_{kind}"] = table["recall"]
                if source == "accuracy":
                    columns[f"{kind}_low"], columns[f"{kind}_high"] = table["low"], table["high"]
        frame = pd.DataFrame(columns).reset_index(names="intent")
        if c.examples:
            frame.insert(2, "examples", frame["intent"].map(c.examples).fillna(0).astype(int))
        return frame

    def _notes(self, name: str, outside: Sequence[str], seen: Sequence[str]) -> list[str]:
        spec = self.spec
        notes = []
        if self.synthetic:
            notes.append(f"{name}: the speech is synthetic (TTS); it says nothing yet about human speech.")
        if spec.trained:
            notes.append(f"{name}: these classes occur in training: prompted classification, not zero-shot.")
        elif seen:
            shown = ", ".join(seen[:3]) + (", ..." if seen[3:] else "")
            notes.append(
                f"{name}: {len(seen)} of its classes occur in training ({shown}): prompted classification, not "
                "zero-shot."
            )
        if outside:
            notes.append(f"{name}: not among the candidates, so always wrong: {', '.join(outside)}.")
        return notes

    def _pictures(
        self, name: str, test: pd.DataFrame, speech: Tensor, texts: Tensor, predictions: pd.DataFrame
    ) -> dict[str, bytes]:
        true = test["label"].to_numpy(dtype=object)
        order = np.argsort(true.astype(str), kind="stable")
        picked = order[np.linspace(0, len(order) - 1, min(PICTURED, len(order))).astype(int)]
        s, t, labels = speech[picked], texts[picked], list(true[picked])
        figures = {
            f"{name}: text-text similarity": similarity_matrix((t @ t.T).numpy(), labels, "text and text"),
            f"{name}: speech-speech similarity": similarity_matrix((s @ s.T).numpy(), labels, "speech and speech"),
            f"{name}: speech-text similarity": similarity_matrix((s @ t.T).numpy(), labels, "speech and text"),
        }
        protocol = "accuracy_mean" if self.examples else "accuracy_prompt"
        rows = predictions[predictions["protocol"] == protocol]
        classes = sorted(set(rows["true"]) | set(rows["predicted"]))
        figures[f"{name}: confusion ({protocol})"] = confusion(
            rows["true"].to_numpy(), rows["predicted"].to_numpy(), classes
        )
        return figures


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
    if not intents or not all(intent.strip() for intent in intents):
        what = "an empty intent" if intents else "no intents to choose among"
        raise UserError(f'{what}: give --intent "turn on the lights" at least once')
    intents = list(dict.fromkeys(intents))
    vectors = class_vectors(encoder, text, [fill(list(templates), intent) for intent in intents])
    scores = encoder.encode(speech, audio, sample_rate) @ vectors.T
    return [sorted(zip(intents, row.tolist(), strict=True), key=lambda pair: -pair[1]) for row in scores]


def _plain(sentence: str) -> str:
    """Case, punctuation and spacing aside."""
    return " ".join(re.sub(r"[^\w\s]", "", sentence.lower()).split())


def _read_examples(path: Path) -> dict[str, list[str]]:
    rows = read_manifest(path, ("text", "label"), ids=False)
    examples: dict[str, list[str]] = {}
    for number, (text, label) in enumerate(zip(rows["text"], rows["label"], strict=True), start=1):
        if not text.strip():
            raise UserError(f"{path}: row {number}: an empty example of {label!r}; fill or remove it")
        examples.setdefault(label, []).append(text)
    return examples
