"""SLURP's scores as a report. Input: what became of every gold item. Output: records by level, official and strict."""

from collections.abc import Sequence

import numpy as np

from xmodal.corpora.speech.slurp import LEVELS, Outcome
from xmodal.evaluation.statistics.metrics import bootstrap_interval
from xmodal.report.report import Record, Report


def slurp_report(name: str, found: Sequence[Outcome], per: str) -> Report:
    """Micro-F1 (which is the accuracy) of scenario, action and intent.

    `LEVEL_official` is over the items that have a prediction, `LEVEL_strict` counts the others as wrong. Intervals
    resample sentences: recordings of one are not independent.

    Args:
        name: of the data set.
        found: all gold items.
        per: sentence or recording.
    """
    covered = [item for item in found if item.right is not None]
    context = {"per": per, "coverage": len(covered) / len(found), "covered": len(covered), "clusters": "sentence"}
    records = []
    for level in LEVELS:
        for kind, items in (("official", covered), ("strict", list(found))):
            hits = np.array([bool(item.right and item.right[level]) for item in items])
            low, high = bootstrap_interval(hits, [item.sentence for item in items])
            records.append(Record(name, f"{level}_{kind}", hits.mean(), low, high, len(items), None, context))
    missing = len(found) - len(covered)
    notes = [f"{name}: {len(covered):,} of {len(found):,} {per}s have a prediction ({len(covered) / len(found):.2%})."]
    if missing:
        notes.append(f"{name}: official passes over the {missing:,} others, strict counts them as wrong.")
    return Report(title=f"SLURP: {name}", records=records, notes=notes)
