"""Zero-shot classification: items (images, or sounds) among classes that are only known by their names.

Score: the cosine of an item with a class vector (see `prompted.py`), equal to CLIP_benchmark's numbers. Ties: the first
class. Axes: n items, C classes, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmodal.errors import UserError
from xmodal.evaluation.classification.prompted import PromptedClassification
from xmodal.prompts import load_templates

if TYPE_CHECKING:
    from torch import Tensor

    from xmodal.encoding.encoder import Encoder
    from xmodal.evaluation.evaluator import Evaluator
    from xmodal.evaluation.test_sets.labelled import LabelledItems
    from xmodal.report.report import Report

TOP = 5


class ZeroShot(PromptedClassification):
    """The evaluator: an encoder in, a report out; the same object runs during training and from the command line.

    Metrics: acc1, acc5 (no value below 5 classes), mean_per_class_recall; for several labels per item
    mean_average_precision and precision@1 (see `multilabel.py`).

    With `cascade` also cascade_acc1 and speech_minus_cascade, with true texts oracle_acc1 and error rates; with
    `dev` what `open_set` measures. Sounds of a column `speaker` are resampled by it, unless `cluster` says otherwise.

    Args:
        spec: the evaluator's part of the config.
        kinds: modality -> text, audio or image; those of a usual name need none.

    Raises:
        UserError: unreadable files, unknown subset, a label that is no candidate, fewer than two classes.

    Example:
        ZeroShot(ZeroShot.Spec(test="data/cifar10/test.parquet", prompts="cifar")).evaluate(encoder, "cifar10")
    """

    class Spec(PromptedClassification.Spec):
        """Zero-shot classification of images (or audio): class vectors from prompts over the class names."""

        column: str | None = None  # of the items; default: the modality's name
        label: str | None = None  # column of the labels; default: labels (lists: several per item), else label
        # labels; or a subset's name (imagenet_r, ...), or a file of labels, one a line: items of others are left out
        classes: str | tuple[str, ...] | None = None
        items: str = "image"  # the side under test
        # of sounds: a Whisper, or a file of transcripts (.jsonl: id, text), whose texts are scored beside the items
        cascade: str | None = None
        # chooses the threshold of "none of these"; an item is that where its label is null, or none of the classes
        dev: Path | None = None

        def sides(self) -> dict[str, str]:
            """The items' and the prompts'."""
            return {"items": self.items, "text": self.text}

    def __init__(self, spec: Spec, kinds: Mapping[str, str] | None = None) -> None:
        from xmodal.evaluation.cascade.cascade import Cascade
        from xmodal.evaluation.open_set.open_set import OpenSet
        from xmodal.evaluation.test_sets.classes import candidates

        self.spec: ZeroShot.Spec = spec
        self.modality = spec.items
        self.templates = load_templates(spec.prompts)
        whole = self._read(spec.test, kinds)
        if whole.several is not None and (spec.cascade is not None or spec.dev is not None):
            what = "cascade" if spec.cascade is not None else "dev"
            raise UserError(f"{spec.test}: {what} goes with one label per item, found lists; leave {what} out")
        labelled = whole if spec.dev is None else whole.part([at for at, x in enumerate(whole.labels) if x is not None])
        self.classes, self.test, self.left_out = candidates(spec, labelled)
        if spec.cascade is not None:
            self.cascade = Cascade(spec.cascade, self.test, spec.text)
        if spec.dev is not None:
            outside = whole.part([at for at, known in enumerate(whole.among(self.classes.labels)) if not known])
            self.open_set = OpenSet(spec.test, self._read(spec.dev, kinds), outside, self.classes.labels)
            self.left_out = 0  # items of other labels are none of the classes, and tested as such

    def _read(self, path: Path, kinds: Mapping[str, str] | None) -> LabelledItems:
        from xmodal.evaluation.test_sets.labelled import read_labelled

        spec = self.spec
        texts = [spec.text] if spec.cascade is not None else []
        return read_labelled(
            path,
            spec.items,
            spec.cluster,
            kinds,
            spec.column,
            spec.label,
            optional=texts,
            nulls=spec.dev is not None,
            speakers=True,
        )

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from."""
        if self.test.several is not None:
            return {"mean_average_precision", "precision@1"}
        return {"acc1", "mean_per_class_recall"} | ({"acc5"} if len(self.classes.labels) >= TOP else set())

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves tables and pictures out."""
        from xmodal.evaluation.classification.heard_items import cascade_report
        from xmodal.evaluation.classification.one_label import one_label_report
        from xmodal.evaluation.classification.pictures import show
        from xmodal.evaluation.statistics.multilabel import multilabel_report

        vectors, title = self.class_vectors(encoder), None if brief else name
        z, test, _, skipped = self.encoded(encoder, title)
        scores, context = 100.0 * (z @ vectors.T).numpy(), self._context(encoder)
        made = one_label_report if test.several is None else multilabel_report
        report = made(name, test, scores, self.classes.labels, context)
        report.title = f"Zero-shot classification: {name}"
        report.notes += self.notes(name, skipped, encoder)
        if not brief:
            show(report, name, test, self.classes)
        if self.cascade is not None:
            report = cascade_report(report, self, self.cascade, encoder, name, test, vectors, context, brief)
        if self.open_set is not None:

            def encode(items: LabelledItems) -> tuple[Tensor, LabelledItems]:
                return self.encoded(encoder, title, items)[:2]

            report = report.merge(self.open_set.report(name, encode, z, test, {"": vectors}, context, brief))
        return report

    def _context(self, encoder: Encoder) -> dict[str, Any]:
        return {
            "items": self.test.kind,
            "candidates": list(self.classes.labels),
            "names": list(self.classes.names),
            "prompts": self.spec.prompts,
            "templates": self.templates,
            "zero_shot": self.unseen(encoder),
            "clusters": self.test.clustered_by or "every item for itself",
            "left_out": self.left_out,
            **self.classes.context,
        }

    def notes(
        self, name: str, skipped: Sequence[tuple[int, str]], *encoders: Encoder, of_run: bool = True
    ) -> list[str]:
        """What a reader must know of the test, and of what could not be read of it (rows and reasons)."""
        notes = super().notes(name, skipped, *encoders, of_run=of_run)
        if self.left_out:
            notes.append(f"{name}: {self.left_out} items of classes outside {self.spec.classes} are left out.")
        repeated = len(self.classes.names) - len(set(self.classes.names))
        if repeated:
            notes.append(f"{name}: {repeated} class names are also another class's: real ties, the first class wins.")
        return notes


if TYPE_CHECKING:
    _is_evaluator: type[Evaluator] = ZeroShot
