"""What a test of prompt templates came to, in sentences: who is ahead, each run's peak, its templates, rewordings.

Input: what `robustness.measure` found for each run, and its records. Output: sentences, the first of them the answer.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from xmodal.evaluation.robustness.robustness import NEAR_PEAK, Robustness
from xmodal.evaluation.statistics.metrics import bootstrap_interval
from xmodal.evaluation.statistics.resampling import TAIL
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.report.cells import number, spanned
from xmodal.report.reading.headline import ITEMS, NO_WINNER, ahead
from xmodal.report.record import Record

NAMED = 3  # rewordings that are named, those that change the most


def robustness_answer(
    name: str, found: Mapping[str, Robustness], templates: Sequence[str], records: Sequence[Record], test: LabelledItems
) -> list[str]:
    """The sentences on top of the report.

    Args:
        name: of the data set.
        found: by run.
        templates: [T].
        records: of the report.
        test: n items.
    """
    several = len(found) > 1
    said = [_winner(name, found, test.clusters)] if several else []
    for run, r in found.items():
        whole = next(x for x in records if x.metric == ("accuracy_all" + (f": {run}" if several else "")))
        called = f"{name}, {run}" if several else name
        right = f"{spanned(whole.value, whole.low, whole.high)} of {whole.n:,} {ITEMS[test.kind]} right"
        chance = number(whole.chance)
        said.append(f"{called}: {right} with all {r.templates} templates (chance {chance}). {_peak(r, templates)}")
    gaps = [record for record in records if " - original" in record.metric]
    return [*said, _rewordings(gaps)] if gaps else said


def _peak(r: Robustness, templates: Sequence[str]) -> str:
    """The best k, and the best and the worst template alone."""
    means = {k: float(r.hits[k].mean()) for k in r.ks}
    peak = max(means, key=lambda k: means[k])
    best, worst = int(r.single.argmax()), int(r.single.argmin())
    enough = "" if r.enough() == peak else f", {NEAR_PEAK:.0%} of it at k = {r.enough()}"
    return (
        f"The peak, {number(means[peak])}, is at k = {peak}{enough}. Alone, “{templates[best]}” is the best template "
        f"({number(r.single[best])}), “{templates[worst]}” the worst ({number(r.single[worst])})."
    )


def _winner(name: str, found: Mapping[str, Robustness], clusters: np.ndarray) -> str:
    """The run that is right most often with all templates, against every other, corrected for all pairs."""
    whole = {run: r.item_means(r.templates) for run, r in found.items()}
    first = max(whole, key=lambda run: whole[run].mean())
    pairs = len(list(itertools.combinations(whole, 2)))
    gaps = {}
    for run in sorted((run for run in whole if run != first), key=lambda run: -whole[run].mean()):
        apart = whole[first] - whole[run]
        limits = bootstrap_interval(apart, clusters, bounds=(-1.0, 1.0), tail=TAIL / pairs)
        gaps[run] = (float(apart.mean()), *limits)
    if all(low > 0 for _, low, _ in gaps.values()):
        verdict = f"{first} wins, ahead of " + " and of ".join(f"{run} by {spanned(*gap)}" for run, gap in gaps.items())
    else:
        told = [ahead(first, run, *gap).removeprefix(NO_WINNER) for run, gap in gaps.items()]
        verdict = NO_WINNER + "; ".join(told)
    corrected = f", corrected for {pairs} pairs (Bonferroni)" if pairs > 1 else ""
    return f"{name}, all templates together: {verdict}{corrected}."


def _rewordings(gaps: Sequence[Record]) -> str:
    sure = [record for record in gaps if record.context.get("excludes_0")]
    sure.sort(key=lambda record: -abs(record.value or 0))
    named = "; ".join(f"{r.metric.replace(' - original', '')} {spanned(r.value, r.low, r.high)}" for r in sure[:NAMED])
    more = f"; and {len(sure) - NAMED} more" if len(sure) > NAMED else ""
    largest = max(gaps, key=lambda record: abs(record.value or 0))
    what = f"{named}{more}" if sure else f"the largest difference is {number(largest.value)}, whose interval holds 0"
    return f"{len(sure)} of {len(gaps)} rewordings change accuracy, each judged by its own interval ({what})."
