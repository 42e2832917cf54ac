"""Retrieval in both directions: which image belongs to this caption, and which captions to this image?

Enters: pairs of two modalities, many to many; equal item ids are one item, so an image may have several captions, in
several rows or as a list in one. Leaves: recall@k (at least one positive among the first k), median and mean rank and
mAP@10, each with its interval and its chance. Protocol: "Retrieval" in docs/evaluation.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmodal.config.data import as_tested
from xmodal.config.evaluators import RetrievalEvaluator
from xmodal.data.image import ImageError, read_image
from xmodal.data.manifest import made_of
from xmodal.data.unusable import require_usable
from xmodal.encoding.encoder import Encoder
from xmodal.encoding.kept import digest_of
from xmodal.errors import UserError
from xmodal.evaluation.statistics.metrics import bootstrap_interval
from xmodal.evaluation.statistics.ranking import (
    DEPTH,
    Ints,
    Ranks,
    chance_mean_rank,
    chance_median_rank,
    chance_precision,
    chance_recall,
    median_rank,
    median_rank_interval,
    rank,
)
from xmodal.evaluation.test_sets.located import unusable_files
from xmodal.evaluation.test_sets.retrieval_pairs import Side, first_positives, groups_of, read_both, renumbered
from xmodal.report.hits import SIDE, Hit, Query, Shown, picture_hits, text_hits
from xmodal.report.record import Record
from xmodal.report.report import Report

SHOWN_OF = ("corpus", "split", "split_file", "sha256", "captions_from", "captions_sha256")  # of the manifest's making
EXAMPLES = 8  # queries on a contact sheet: the best and the worst
HITS = 5  # of each


class Retrieval:
    """The evaluator: an encoder in, a report out; the same object runs during training and from `eval/`.

    An item without a partner (an image whose captions are missing or empty, a caption whose image cannot be read) stays
    in the gallery, where it can only make the task harder; it is no query, and it is counted in a note.

    Args:
        spec: the evaluator's part of the config.
        kinds: modality -> text, audio or image; those of a usual name need none.

    Raises:
        UserError: the test cannot be read, or holds no caption.

    Example:
        report = Retrieval(RetrievalEvaluator(test="data/coco/test.parquet")).evaluate(encoder, "coco")
        report.value("text_to_image_recall@1")
    """

    def __init__(self, spec: RetrievalEvaluator, kinds: Mapping[str, str] | None = None) -> None:
        self.spec = spec
        self.modality = spec.items
        self.kind = as_tested(spec.items, kinds or {}).kind
        self.items, self.texts, self.pairs, self.empty, self.renamed = read_both(spec, kinds or {})
        self._fixed: dict[str, tuple[Encoder, tuple[Tensor, list[int], list[tuple[int, str]]]]] = {}

    def content(self) -> str:
        """A digest of both sides and of who belongs to whom."""
        return digest_of(self.items.items, self.texts.items, [self.items.names, self.texts.names, self.pairs.tolist()])

    def metrics(self) -> set[str]:
        """The names `train.best` may choose from, after the evaluator's own. Ranks are not among them: less is more."""
        names = [*(f"recall@{k}" for k in self.spec.ks), f"map@{DEPTH}"]
        return {f"{direction}_{name}" for direction in self._directions() for name in names}

    def _directions(self) -> tuple[str, str]:
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
        bad = unusable_files(self.files, self.kind)
        require_usable(self.spec.test, len(self.items.items), bad, self.spec.max_bad, "the evaluator's max_bad")

    def evaluate(self, encoder: Encoder, name: str, brief: bool = False) -> Report:
        """Score the test; `name` is the dataset's name in the report; `brief` leaves the pictures out.

        Raises:
            UserError: more than `max_bad` of a side's items cannot be read; the encoder lacks a modality.
        """
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
        for direction, (z_side, side, z_found, found, positives, groups) in zip(self._directions(), sides, strict=True):
            asked, numbers = np.unique(positives[:, 0], return_inverse=True)
            queries, z_queries = side.kept(asked.tolist()), z_side[asked]
            positives = np.stack([numbers, positives[:, 1]], axis=1)
            ranks = rank(z_queries, z_found, positives)
            report = report.merge(self._scores(name, direction, ranks, queries, found, positives, groups[asked]))
            if not brief and self._pictured(encoder):
                sheet = self._sheet(direction, ranks, z_queries, queries, z_found, found, positives)
                report.figures[f"{name}: {direction.replace('_', ' ')}"] = sheet
        return report

    def _encode(
        self, encoder: Encoder, side: Side, progress: str | None
    ) -> tuple[Tensor, Side, NDArray[np.int64], list[str]]:
        """Embeddings of what can be read, those items, their places, and a note on the others."""
        modality = side.modality
        before = self._fixed.get(modality)
        if before is not None and before[0] is encoder:
            z, kept, skipped = before[1]
        else:
            z, kept, skipped = encoder.encode_readable(
                modality, side.items, progress=progress and f"{progress}: {modality}"
            )
            if encoder.is_fixed(modality):
                self._fixed[modality] = encoder, (z, kept, skipped)
        bad = [(side.names[place], reason) for place, reason in skipped]
        require_usable(self.spec.test, len(side.items), bad, self.spec.max_bad, "the evaluator's max_bad")
        what = f"{len(bad)} of {len(side.items)} {modality} items could not be read and are left out"
        notes = [f"{what}, the first: {bad[0][1]}"] if bad else []
        return z.float(), side.kept(kept), np.array(kept, dtype=np.int64), notes

    def _scores(
        self, name: str, direction: str, ranks: Ranks, queries: Side, found: Side, positives: Ints, clusters: NDArray
    ) -> Report:
        """The records of one direction, and every query's outcome for every k."""
        m, counts = ranks.gallery, ranks.positives
        digest = hashlib.sha256("\n".join(found.names).encode()).hexdigest()[:12]
        context: dict[str, Any] = {
            "test": str(self.spec.test),
            **{key: value for key, value in made_of(self.spec.test).items() if key in SHOWN_OF},
            "gallery": m,
            # what a comparison of two runs checks; the names themselves would be thousands
            "candidates": [f"{m} {found.modality} items, sha256 {digest}"],
            "positives": round(float(counts.mean()), 3),
            "ties": ranks.ties,
            "clusters": f"{self.spec.items} and what shares its {self.spec.text}",
        }
        records: list[Record] = []

        def record(metric: str, value: float, interval: tuple[float, float], chance: float) -> None:
            records.append(Record(name, f"{direction}_{metric}", value, *interval, len(counts), chance, context))

        frames = []
        true = first_positives(found, positives, counts)
        for k in dict.fromkeys(self.spec.ks):
            hits = ranks.hits(k)
            record(f"recall@{k}", hits.mean(), bootstrap_interval(hits, clusters), chance_recall(counts, m, min(k, m)))
            columns = {
                "dataset": name,
                "protocol": f"{direction}_recall@{k}",
                "item": queries.names,
                "cluster": clusters,
                "true": true,
                "predicted": [found.names[i] for i in ranks.top],
                "score": ranks.score,
                "correct": hits,
            }
            frames.append(pd.DataFrame(columns))
        median = median_rank_interval(ranks.best, clusters)
        record("median_rank", int(median_rank(ranks.best)), median, chance_median_rank(counts, m))
        ranked = bootstrap_interval(ranks.best, clusters, bounds=(1, m))
        record("mean_rank", ranks.best.mean(), ranked, chance_mean_rank(counts, m))
        precision = bootstrap_interval(ranks.precision, clusters)
        record(f"map@{DEPTH}", ranks.precision.mean(), precision, chance_precision(counts, m))
        return Report(records, predictions=pd.concat(frames, ignore_index=True))

    def _lonely(self, items: Side, texts: Side, pairs: Ints) -> list[str]:
        """Notes on what has no partner."""
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
        """Images on one side, and on the other texts or sounds (shown by name): what a contact sheet can show."""
        items, texts = (encoder.processors[name].kind for name in (self.spec.items, self.spec.text))
        return items == "image" and texts != "image"

    def _sheet(
        self,
        direction: str,
        ranks: Ranks,
        z_query: Tensor,
        queries: Side,
        z_found: Tensor,
        found: Side,
        positives: Ints,
    ) -> bytes:
        """The best and the worst queries with their first hits. Only the images that are shown are read."""
        order = np.lexsort((-ranks.score, ranks.best))
        half = EXAMPLES // 2
        picked = order if len(order) <= EXAMPLES else np.concatenate([order[:half], order[-half:]])
        scores = z_query[picked] @ z_found.T
        tops = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :HITS].tolist()
        shown = []
        for number, query in enumerate(picked.tolist()):
            right = positives[positives[:, 0] == query, 1]

            def hit(item: int, row: Tensor = scores[number], right: Ints = right) -> Hit:
                return Hit(self._shown(found, item), float(row[item]), item in right)

            missed = None
            if not set(tops[number]) & set(right.tolist()):
                missed = hit(int(right[scores[number][torch.from_numpy(right)].argmax()]))
            item = self._shown(queries, query)
            shown.append(Query(item, [hit(i) for i in tops[number]], int(ranks.best[query]), missed))
        draw = picture_hits if found.modality == self.spec.items else text_hits
        return draw(shown, f"{direction.replace('_', ' ')}: the best and the worst of {len(order)} queries")

    def _shown(self, side: Side, place: int) -> Shown:
        item = side.items[place]
        if side.modality == self.spec.text:
            return Shown(str(item))
        try:
            picture = read_image(item)
            picture.thumbnail((2 * SIDE, 2 * SIDE))
            return Shown(side.names[place], picture)
        except ImageError:
            return Shown(side.names[place])
