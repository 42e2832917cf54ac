"""What a report on keyword spotting shows beside its numbers: words one by one, and other thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xmodal.evaluation.classification.worst_errors import show_worst_errors
from xmodal.evaluation.keywords.keyword_lists import SILENCE, UNKNOWN
from xmodal.evaluation.keywords.spotting import Clips, Rule, curve_picture, operating_point, thinned, threshold_curve
from xmodal.evaluation.open_set.open_set import shared_items
from xmodal.evaluation.statistics.metrics import per_class_table
from xmodal.report.figures import confusion
from xmodal.report.fonts import notes_on_glyphs
from xmodal.report.report import Report

if TYPE_CHECKING:
    from xmodal.evaluation.keywords.keywords import Keywords
    from xmodal.evaluation.test_sets.labelled import LabelledItems


def show(
    report: Report,
    name: str,
    test: LabelledItems,
    clips: Clips,
    words: tuple[str, ...],
    classes: tuple[str, ...],
    rule: Rule,
) -> None:
    """Add tables, pictures and the worst errors to a report on the data set `name`."""
    rows = report.predictions
    true, predicted = rows["true"].to_numpy(), rows["predicted"].to_numpy()
    table = per_class_table(true, predicted, rows["cluster"].to_numpy())
    answered = {word: predicted == word for word in table["label"]}
    table["answered"] = [int(answered[word].sum()) for word in table["label"]]
    table["wrongly"] = [int((answered[word] & (true != word)).sum()) for word in table["label"]]
    report.tables[f"{name}: per word"] = table
    report.figures[f"{name}: confusion"] = confusion(true, predicted, list(classes))
    point = operating_point(clips, words, rule)
    if {"miss_rate", "false_accepts_per_hour"} <= point.keys() and rule.similarity is not None:
        curve = threshold_curve(clips, words, rule)
        report.tables[f"{name}: thresholds"] = thinned(curve)
        at = point["false_accepts_per_hour"][0], point["miss_rate"][0]
        hours = float(clips.hours[~clips.wanted].sum())
        title = f"misses against false accepts in {hours:.2f} h without a keyword"
        report.figures[f"{name}: false accepts and misses"] = curve_picture(curve, at, title)
    show_worst_errors(report, name, rows, test)
    report.notes += notes_on_glyphs([name, *classes])


def keyword_notes(evaluator: Keywords, name: str, test: LabelledItems, rule: Rule) -> Sequence[str]:
    """Which list and which thresholds; what the list has no place for; words that nobody says."""
    notes = []
    listed, spec = evaluator.listed, evaluator.spec
    if rule.similarity is not None:
        goal = (
            "misses and false accepts weigh alike"
            if spec.most_false_accepts is None
            else f"at most {spec.most_false_accepts:g} false accepts per hour"
        )
        notes.append(
            f"{name}: {UNKNOWN} is a best word with a cosine below {rule.similarity:.3f}, chosen on "
            f"{spec.dev} ({goal})."
        )
    if rule.spread is not None:
        notes.append(
            f"{name}: {SILENCE} is a recording whose level moves by less than {rule.spread:.1f} dB (95th minus 10th "
            f"percentile of 25-ms frames), chosen on {spec.dev}."
        )
    if evaluator.left_out:
        notes.append(f"{name}: {evaluator.left_out} recordings of labels outside the list are left out.")
    missing = [word for word in listed if word not in test.found()]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if missing[5:] else "")
        notes.append(f"{name}: {len(missing)} of {len(listed)} classes have no recording in the test: {shown}.")
    if evaluator.dev is not None:
        notes += shared_items(name, evaluator.dev, test)
    return notes
