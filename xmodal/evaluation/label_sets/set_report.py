"""What a report on several label sets shows beside its numbers, and what its reader must know."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from xmodal.evaluation.classification.worst_errors import show_worst_errors
from xmodal.evaluation.label_sets.set_scores import SetScores
from xmodal.prompts import bare_words
from xmodal.report.figures import confusion
from xmodal.report.fonts import notes_on_glyphs
from xmodal.report.report import Report


def show(report: Report, scores: SetScores, kind: str) -> None:
    """Add a table of all sets and inputs, and by one kind of class vector each set's confusion and worst errors."""
    name = scores.dataset
    columns = ["set", "input", "class vectors", "share", "low", "high", "n", "chance"]
    table = pd.DataFrame(scores.rows, columns=columns)
    order = {each: at for at, each in enumerate([*scores.sets, "all"])}
    report.tables[f"{name}: sets"] = table.sort_values("set", key=lambda sets: sets.map(order), kind="stable")
    for each, values in scores.sets.items():
        rows = report.predictions[report.predictions["protocol"] == f"accuracy_{each}_{kind}"]
        true, predicted = rows["true"].to_numpy(), rows["predicted"].to_numpy()
        report.figures[f"{name}: {each} ({kind})"] = confusion(true, predicted, list(values), f"{each} ({kind})")
        show_worst_errors(report, f"{name}: {each}", rows, scores.test)
        report.notes += [note for note in notes_on_glyphs([name, *values]) if note not in report.notes]


def set_notes(
    scores: SetScores,
    centre: Path | None,
    phrases: Mapping[str, Sequence[Sequence[str]]],
    true: Sequence[str] | None,
    lost: bool,
) -> list[str]:
    """Recordings without a value, means that saw the test, phrases that are said in it.

    Args:
        scores: of the test.
        centre: whose mean is taken off.
        phrases: set -> phrases by value.
        true: what is said in the test, where that is told.
        lost: are cascade and oracle left out, for want of texts to centre by?
    """
    name, notes = scores.dataset, []
    for each in scores.sets:
        lacking = int((~scores.given(each)).sum())
        if lacking:
            notes.append(f"{name}: {each}: {lacking} of {len(scores.test)} recordings have none of its values.")
    if centre is not None and os.path.realpath(centre) == os.path.realpath(scores.test.path):
        notes.append(
            f"{name}: the mean that is taken off is that of the test itself (transductive): such numbers take the "
            "whole test at once, and cannot be had for one recording."
        )
    if lost:
        notes.append(f"{name}: {centre} has no texts to centre by: cascade and oracle are left out.")
    known = {bare_words(text) for groups in phrases.values() for group in groups for text in group}
    said = sum(bare_words(text) in known for text in true or ())
    if said:
        notes.append(f"{name}: {said} of {len(scores.test)} recordings say a phrase that is among the examples.")
    return notes
