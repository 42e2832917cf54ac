"""What one direction of retrieval came to: records, and every query's outcome for every k.

Axes: q queries, m items of the gallery, P pairs.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from numpy.typing import NDArray

from xmodal.data.manifest import made_of
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
)
from xmodal.evaluation.test_sets.retrieval_pairs import Side, first_positives
from xmodal.report.record import Record
from xmodal.report.report import Report

if TYPE_CHECKING:
    from xmodal.evaluation.retrieval.retrieval import Retrieval

SHOWN_OF = ("corpus", "split", "split_file", "sha256", "captions_from", "captions_sha256")  # of the manifest's making


class Direction(NamedTuple):
    """One side asks, the other is found."""

    metric: str  # what its metrics begin with, as text_to_image
    ranks: Ranks
    queries: Side  # q
    found: Side  # m
    positives: Ints  # [P, 2] (query, found)
    clusters: NDArray  # [q] what intervals resample


def direction_report(name: str, spec: Retrieval.Spec, direction: Direction) -> Report:
    """The records of one direction on the data set `name`, and every query's outcome for every k."""
    metric_of, ranks, queries, found, positives, clusters = direction
    m, counts = ranks.gallery, ranks.positives
    digest = hashlib.sha256("\n".join(found.names).encode()).hexdigest()[:12]
    context: dict[str, Any] = {
        "test": str(spec.test),
        **{key: value for key, value in made_of(spec.test).items() if key in SHOWN_OF},
        "gallery": m,
        # what a comparison of two runs checks; the names themselves would be thousands
        "candidates": [f"{m} {found.modality} items, sha256 {digest}"],
        "positives": round(float(counts.mean()), 3),
        "ties": ranks.ties,
        "clusters": f"{spec.items} and what shares its {spec.text}",
    }
    records: list[Record] = []

    def record(metric: str, value: float, interval: tuple[float, float], chance: float) -> None:
        records.append(Record(name, f"{metric_of}_{metric}", value, *interval, len(counts), chance, context))

    frames = []
    true = first_positives(found, positives, counts)
    for k in dict.fromkeys(spec.ks):
        hits = ranks.hits(k)
        record(f"recall@{k}", hits.mean(), bootstrap_interval(hits, clusters), chance_recall(counts, m, min(k, m)))
        columns = {
            "dataset": name,
            "protocol": f"{metric_of}_recall@{k}",
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
