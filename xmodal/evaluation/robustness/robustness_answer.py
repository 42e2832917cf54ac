"""What a test of prompt templates came to, in sentences: who is ahead, each run's peak, its templates, rewordings.

Input: what `robustness.measure` found for each run, and its records. Output: sentences, the first of them the answer.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from xmodal.evaluation.robustness.robustness import NEAR_PEAK, Robustness
from xmodal.evaluation.statistics.metrics import bootstrap_interval
from xmodal.evaluation.statistics.resampling import TAIL
from xmodal.report.cells import number, spanned
from xmodal.report.reading.headline import ahead
from xmodal.report.record import Record

NAMED = 3  # rewordings that are named, those that change the most


def robustness_answer(
    name: str,
    found: Mapping[str, Robustness],
    templates: Sequence[str],
    records: Sequence[Record],
    clusters: np.ndarray,
) -> list[str]:
    """The sentences on top of the report.

    Args:
        name: of the data set.
        found: by run.
        templates: [T].
        records: of the report.
        clusters: [n] of the items.
    """
    said = [_winner(name, found, clusters)] if len(found) > 1 else []
    for run, r in found.items():
        of = f": {run}" if len(found) > 1 else ""
        said.append(_of_run(f"{name}{of}", r, templates, {record.metric: record for record in records}, of))
    gaps = [record for record in records if " - original" in record.metric]
    return [*said, _rewordings(gaps)] if gaps else said


def _of_run(called: str, r: Robustness, templates: Sequence[str], by_name: Mapping[str, Record], of: str) -> str:
    total, single = r.templates, r.single
    whole = by_name[f"accuracy_all{of}"]
    right = f"{spanned(whole.value, whole.low, whole.high)} of {whole.n:,} items right"
    means = {k: float(r.hits[k].mean()) for k in r.ks}
    peak = max(means, key=lambda k: means[k])
    best, worst = int(single.argmax()), int(single.argmin())
    return (
        f"{called}: {right} with all {total} templates (chance {number(whole.chance)}). The peak, "
        f"{number(means[peak])}, is at k = {peak}; k = {r.enough()} has {NEAR_PEAK:.0%} of it. Alone, "
        f"“{templates[best]}” is the best template ({number(single[best])}), “{templates[worst]}” the worst "
        f"({number(single[worst])})."
    )


def _winner(name: str, found: Mapping[str, Robustness], clusters: np.ndarray) -> str:
    """The run that is right most often with all templates, against every other, corrected for all pairs."""
    whole = {run: r.item_means(r.templates) for run, r in found.items()}
    first = max(whole, key=lambda run: whole[run].mean())
    pairs = len(list(itertools.combinations(whole, 2)))
    told, sure = [], True
    for run in sorted((run for run in whole if run != first), key=lambda run: -whole[run].mean()):
        apart = whole[first] - whole[run]
        low, high = bootstrap_interval(apart, clusters, bounds=(-1.0, 1.0), tail=TAIL / pairs)
        sure = sure and low > 0
        told.append(ahead(first, run, float(apart.mean()), low, high).removeprefix("no winner: "))
    corrected = f" Intervals are corrected for {pairs} pairs (Bonferroni)." if pairs > 1 else ""
    verdict = f"{first} wins" if sure else "no winner"
    return f"{name}, all templates together: {verdict}: {'; '.join(told)}.{corrected}"


def _rewordings(gaps: Sequence[Record]) -> str:
    sure = [record for record in gaps if record.context.get("excludes_0")]
    sure.sort(key=lambda record: -abs(record.value or 0))
    named = "; ".join(f"{r.metric.replace(' - original', '')} {spanned(r.value, r.low, r.high)}" for r in sure[:NAMED])
    more = f"; and {len(sure) - NAMED} more" if len(sure) > NAMED else ""
    largest = max(gaps, key=lambda record: abs(record.value or 0))
    what = f"{named}{more}" if sure else f"the largest difference is {number(largest.value)}, whose interval holds 0"
    return f"{len(sure)} of {len(gaps)} rewordings change accuracy, each judged by its own interval ({what})."
