"""Keyword spotting: which word of a list is said, or none of them, or nothing at all? Zero-shot, by prompts.

Protocol: "Keyword spotting" in docs/evaluation.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmodal.config.spec import Positive
from xmodal.errors import UserError
from xmodal.evaluation.classification.prompted import PromptedRecordings
from xmodal.evaluation.keywords.keyword_lists import SILENCE, UNKNOWN, class_of, find_list
from xmodal.prompts import load_templates

if TYPE_CHECKING:
    from torch import Tensor

    from xmodal.encoding.encoder import Encoder
    from xmodal.evaluation.evaluator import Evaluator
    from xmodal.evaluation.keywords.spotting import Clips
    from xmodal.evaluation.test_sets.labelled import LabelledItems
    from xmodal.report.report import Report

LEVEL_RATE = 16_000  # Hz, at which levels are measured


class Keywords(PromptedRecordings):
    """The evaluator: an encoder in, a report out; the same object runs during training and from the command line.

    Metrics: accuracy over all classes, majority; miss_rate and, where clips of no keyword are there,
    false_accepts_per_hour.

    Args:
        spec: the evaluator's part of the config.
        kinds: modality -> text, audio or image; the recordings' is audio unless this says otherwise.

    Raises:
        UserError: unreadable files, a list that is none, `_unknown_` or `_silence_` without a dev set, no clip of the
            list's.

    Example:
        Keywords(Keywords.Spec(test="sc_v2/test12.jsonl", dev="sc_v2/dev.jsonl")).evaluate(encoder, "sc_v2_12")
    """

    class Spec(PromptedRecordings.Spec):
        """Keyword spotting: a list of words as classes, `_unknown_` and `_silence_` by thresholds from a dev set."""

        words: str | tuple[str, ...] = "12"  # 12, 35, superb, or the classes themselves
        dev: Path | None = None  # like the test: chooses the thresholds of _unknown_ and _silence_
        most_false_accepts: Positive | None = None  # per hour of dev; default: misses and false accepts weigh alike
        column: str | None = None  # of the recordings; default: the modality's name
        label: str | None = None  # column of the labels; default: label
        items: str = "speech"  # the side under test

        def sides(self) -> dict[str, str]:
            """The recordings' and the prompts'."""
            return {"items": self.items, "text": self.text}

    def __init__(self, spec: Spec, kinds: Mapping[str, str] | None = None) -> None:
        from xmodal.evaluation.open_set.open_set import require_apart
        from xmodal.evaluation.test_sets.classes import named_classes

        self.spec: Keywords.Spec = spec
        self.modality = spec.items
        self.templates = load_templates(spec.prompts)
        self.listed = find_list(spec.words)
        self.words = tuple(word for word in self.listed if word not in (UNKNOWN, SILENCE))
        self.thresholded = [kind for kind in (UNKNOWN, SILENCE) if kind in self.listed]
        if self.thresholded and spec.dev is None:
            raise UserError(
                f"{spec.test}: {' and '.join(self.thresholded)} of the list {spec.words!r} need dev: recordings on "
                "which their thresholds are chosen, and none of the test's"
            )
        if spec.most_false_accepts is not None and UNKNOWN not in self.listed:
            raise UserError(f"{spec.test}: most_false_accepts goes with {UNKNOWN} among the words; leave it out")
        self.test, self.left_out = self._read(spec.test, kinds)
        self.classes = named_classes(self.words, spec.names, spec.test, {})
        self.dev: LabelledItems | None = None
        # (a set's file, names of its readable items) -> spreads of their levels, which do not change in training
        self._spreads: dict[tuple[Path, tuple[str, ...]], Any] = {}
        if self.thresholded and spec.dev is not None:
            require_apart(spec.test, spec.dev)
            self.dev, _ = self._read(spec.dev, kinds)

    def _read(self, path: Path, kinds: Mapping[str, str] | None) -> tuple[LabelledItems, int]:
        """A set whose labels are classes of the list, and how many clips the list has no place for."""
        import numpy as np

        from xmodal.evaluation.test_sets.labelled import read_labelled

        spec, kinds = self.spec, {self.spec.items: "audio"} | dict(kinds or {})
        found = read_labelled(
            path, spec.items, spec.cluster, kinds, spec.column, spec.label or "label", nulls=True, speakers=True
        )
        if found.several is not None or found.kind != "audio":
            what = "lists of labels" if found.several is not None else f"items of kind {found.kind}"
            raise UserError(f"{path}: {what}, expected recordings with one word each")
        labels = np.array([class_of(label, self.listed) for label in found.labels], dtype=object)
        rows = [at for at, label in enumerate(labels) if label is not None]
        if not rows:
            raise UserError(
                f"{path}: none of its {len(found)} labels (first {str(found.labels[0])!r}) is among the words "
                f"({', '.join(self.words[:5])}{', ...' if len(self.words) > 5 else ''})"
            )
        return dataclasses.replace(found, labels=labels).part(rows), len(found) - len(rows)

    def _beside(self) -> list[LabelledItems]:
        return [] if self.dev is None else [self.dev]

    def _further_content(self) -> list[Any]:
        from xmodal.encoding.embedding_cache import digest_of

        dev = self.dev
        return [self.listed, None if dev is None else digest_of(dev.sources, dev.labels.tolist())]

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from."""
        return {"accuracy"}

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves tables and pictures out."""
        from xmodal.evaluation.classification.score_sheet import ScoreSheet
        from xmodal.evaluation.keywords.keyword_report import keyword_notes, show
        from xmodal.evaluation.keywords.spotting import Rule, choose_rule, operating_point
        from xmodal.report.report import Record, Report

        spec, title, vectors = self.spec, None if brief else name, self.class_vectors(encoder)
        rule = Rule()
        if self.dev is not None:
            dev, _, _ = self._clips(encoder, title, self.dev, vectors)
            rule = choose_rule(dev, self.words, self.listed, spec.dev, spec.most_false_accepts)
        clips, test, skipped = self._clips(encoder, title, self.test, vectors)
        context = {
            "list": spec.words if isinstance(spec.words, str) else "one's own",
            "items": test.kind,
            "candidates": list(self.listed),
            "templates": len(self.templates),
            "zero_shot": self.unseen(encoder),
            "clusters": test.clustered_by or "every recording for itself",
            "similarity_threshold": rule.similarity,
            "silence_threshold_db": rule.spread,
            "thresholds_from": None if self.dev is None else str(spec.dev),
            "left_out": self.left_out,
        }
        sheet = ScoreSheet(name, test.names, test.labels, test.clusters)
        sheet.score("accuracy", rule.class_scores(clips, self.words, self.listed), self.listed, context)
        sheet.majority("majority", len(self.listed), context)
        for metric, (value, (low, high), n) in operating_point(clips, self.words, rule).items():
            sheet.records.append(Record(name, metric, value, low, high, n, None, context))
        report = Report(title=f"Keyword spotting: {name}", records=sheet.records, predictions=sheet.predictions())
        report.notes += [*self.notes(name, skipped, encoder), *keyword_notes(self, name, test, rule)]
        if not brief:
            show(report, name, test, clips, self.words, self.listed, rule)
        return report

    def _clips(
        self, encoder: Encoder, title: str | None, items: LabelledItems, vectors: Tensor
    ) -> tuple[Clips, LabelledItems, list[tuple[int, str]]]:
        """Similarities, lengths and levels of what can be read of a set; these items; the others."""
        import numpy as np

        from xmodal.config.data import AudioModality
        from xmodal.data.reading import lengths_of
        from xmodal.data.sources.audio_bytes import waveform
        from xmodal.evaluation.keywords.silence import level_spread
        from xmodal.evaluation.keywords.spotting import Clips

        z, read, _, skipped = self.encoded(encoder, title, None if items is self.test else items)
        scores = (z @ vectors.T).double().numpy()
        seconds, _ = lengths_of(AudioModality(min_seconds=0, max_seconds=1e9), list(read.sources))
        spread = None
        if SILENCE in self.listed:
            key = (items.path, tuple(map(str, read.names)))
            if key not in self._spreads:
                waves = (waveform(source, LEVEL_RATE) for source in read.sources)
                self._spreads[key] = np.array([level_spread(wave, LEVEL_RATE) for wave in waves])
            spread = self._spreads[key]
        return Clips(scores, read.labels, read.clusters, seconds / 3600, spread), read, skipped


if TYPE_CHECKING:
    _is_evaluator: type[Evaluator] = Keywords
