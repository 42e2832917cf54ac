"""Retrieval in both directions: which image belongs to this caption, and which captions to this image?

Input: pairs of two modalities, many to many; equal item ids are one item, so an image may have several captions, in
several rows or as a list in one. Output: recall@k (at least one positive among the first k), median and mean rank and
mAP@10, each with its interval and its chance. Protocol: "Retrieval" in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from xmodal.config.data import as_tested
from xmodal.config.evaluator_spec import EvaluatorSpec
from xmodal.config.spec import Count
from xmodal.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from xmodal.encoding.encoder import Encoder
    from xmodal.evaluation.evaluator import Evaluator
    from xmodal.evaluation.statistics.ranking import Ints
    from xmodal.evaluation.test_sets.retrieval_pairs import Side
    from xmodal.report.report import Report


class Retrieval:
    """The evaluator: an encoder in, a report out; the same object runs during training and from the command line.

    An item without a partner (an image whose captions are missing or empty, a caption whose image cannot be read) stays
    in the gallery, where it can only make the task harder; it is no query, and it is counted in a note.

    Args:
        spec: the evaluator's part of the config.
        kinds: modality -> text, audio or image; those of a usual name need none.

    Raises:
        UserError: the test cannot be read, or holds no caption.

    Example:
        report = Retrieval(Retrieval.Spec(test="data/coco/test.parquet")).evaluate(encoder, "coco")
        report.value("text_to_image_recall@1")
    """

    class Spec(EvaluatorSpec):
        """Retrieval in both directions over pairs; equal item ids are one item: an image may have several captions."""

        column: str | None = None  # of the items; default: the modality's name
        text_column: str | None = None  # of the texts, likewise
        ks: tuple[Count, ...] = Field((1, 5, 10), min_length=1)  # recall@k
        items: str = "image"  # the modalities' names
        text: str = "text"

        def sides(self) -> dict[str, str]:
            """The items' and the texts'."""
            return {"items": self.items, "text": self.text}

    def __init__(self, spec: Spec, kinds: Mapping[str, str] | None = None) -> None:
        from xmodal.evaluation.test_sets.retrieval_pairs import read_both

        self.spec = spec
        self.modality = spec.items
        self.kind = as_tested(spec.items, kinds or {}).kind
        self.items, self.texts, self.pairs, self.empty, self.renamed = read_both(spec, kinds or {})

    def content(self) -> str:
        """A digest of both sides and of who belongs to whom."""
        from xmodal.encoding.embedding_cache import digest_of

        return digest_of(self.items.items, self.texts.items, [self.items.names, self.texts.names, self.pairs.tolist()])

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from, after the evaluator's own. Ranks are not among them: less is more."""
        from xmodal.evaluation.statistics.ranking import DEPTH

        names = [*(f"recall@{k}" for k in self.spec.ks), f"map@{DEPTH}"]
        return {f"{direction}_{name}" for direction in self.directions() for name in names}

    def directions(self) -> tuple[str, str]:
        """What the metrics of the two directions begin with."""
        return f"{self.spec.text}_to_{self.spec.items}", f"{self.spec.items}_to_{self.spec.text}"

    @property
    def files(self) -> Sequence[Path]:
        """The items that are files of their own."""
        return self.items.files()

    def check(self) -> None:
        """Files must be there, and audio headers readable: what cannot be scored stops a run before it trains.

        Raises:
            UserError: more than `max_bad` of the items cannot be used.
        """
        from xmodal.data.unusable import require_usable
        from xmodal.evaluation.test_sets.item_sources import unusable_files

        bad = unusable_files(self.files, self.kind)
        require_usable(self.spec.test, len(self.items.items), bad, self.spec.max_bad, "the evaluator's max_bad")

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves the pictures out.

        Raises:
            UserError: more than `max_bad` of a side's items cannot be read; the encoder lacks a modality.
        """
        import numpy as np

        from xmodal.evaluation.retrieval.contact_sheet import contact_sheet
        from xmodal.evaluation.retrieval.retrieval_report import Direction, direction_report
        from xmodal.evaluation.statistics.ranking import rank
        from xmodal.evaluation.test_sets.retrieval_pairs import groups_of, renumbered
        from xmodal.report.report import Report

        z_items, items, kept_items, note_items = self._encode(encoder, self.items, None if brief else name)
        z_texts, texts, kept_texts, note_texts = self._encode(encoder, self.texts, None if brief else name)
        pairs = renumbered(self.pairs, kept_items, kept_texts)
        if not len(pairs):
            raise UserError(f"{self.spec.test}: no item that can be read has a caption; nothing to score")
        notes = [*note_items, *note_texts, *self._lonely(items, texts, pairs)]
        report = Report(title=f"Retrieval: {name}", notes=[f"{name}: {note}" for note in notes])
        of_items, of_texts = groups_of(pairs, items, texts)
        sides = (
            (z_texts, texts, z_items, items, pairs[:, ::-1], of_texts),
            (z_items, items, z_texts, texts, pairs, of_items),
        )
        for metric, (z_side, side, z_found, found, positives, groups) in zip(self.directions(), sides, strict=True):
            asked, numbers = np.unique(positives[:, 0], return_inverse=True)
            z_queries, positives = z_side[asked], np.stack([numbers, positives[:, 1]], axis=1)
            ranks = rank(z_queries, z_found, positives)
            direction = Direction(metric, ranks, side.part(asked.tolist()), found, positives, groups[asked])
            report = report.merge(direction_report(name, self.spec, direction))
            if not brief and self._pictured(encoder):
                sheet, glyphs = contact_sheet(direction, z_queries, z_found, self.spec.text)
                report.figures[f"{name}: {metric.replace('_', ' ')}"] = sheet
                report.notes += [note for note in glyphs if note not in report.notes]
        return report

    def _encode(
        self, encoder: Encoder, side: Side, progress: str | None
    ) -> tuple[Tensor, Side, NDArray[np.int64], list[str]]:
        """Embeddings of what can be read, those items, their numbers among all, and a note on the others."""
        import numpy as np

        from xmodal.data.unusable import require_usable

        modality = side.modality
        z, kept, skipped = encoder.remember(
            modality,
            (self, modality),
            lambda: encoder.encode_readable(modality, side.items, progress=progress and f"{progress}: {modality}"),
        )
        bad = [(side.names[row], reason) for row, reason in skipped]
        require_usable(self.spec.test, len(side.items), bad, self.spec.max_bad, "the evaluator's max_bad")
        what = f"{len(bad)} of {len(side.items)} {modality} items could not be read and are left out"
        notes = [f"{what}, the first: {bad[0][1]}"] if bad else []
        return z.float(), side.part(kept), np.array(kept, dtype=np.int64), notes

    def _lonely(self, items: Side, texts: Side, pairs: Ints) -> list[str]:
        """Notes on what has no partner."""
        import numpy as np

        spec = self.spec
        notes = [f"{self.empty} entries of {spec.text} are missing or empty, and left out."] if self.empty else []
        if self.renamed:
            notes.append(f"{self.renamed} rows name another item under an id seen before: the first one is taken.")
        for side, column in ((items, 0), (texts, 1)):
            alone = len(side.items) - len(np.unique(pairs[:, column]))
            if alone:
                notes.append(
                    f"{alone} of {len(side.items)} {side.modality} items have no partner: they stay in the gallery "
                    "and are no queries."
                )
        return notes

    def _pictured(self, encoder: Encoder) -> bool:
        """Can a contact sheet show it: images on one side, on the other texts or sounds (shown by name)?"""
        items, texts = (encoder.processors[name].kind for name in (self.spec.items, self.spec.text))
        return items == "image" and texts != "image"


if TYPE_CHECKING:
    _is_evaluator: type[Evaluator] = Retrieval
