"""What a report on zero-shot classification shows beside its numbers: tables by class, confusion, the worst errors."""

from xmodal.evaluation.classification.one_label import confused_pairs
from xmodal.evaluation.classification.worst_errors import show_worst_errors
from xmodal.evaluation.statistics.metrics import per_class_table
from xmodal.evaluation.test_sets.classes import Classes
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.report.figures import confusion
from xmodal.report.fonts import notes_on_glyphs
from xmodal.report.report import Report


def show(report: Report, name: str, test: LabelledItems, classes: Classes) -> None:
    """Add tables and pictures to a report on the data set `name`, whose predictions are those of the n items."""
    rows, names = report.predictions, dict(zip(classes.labels, classes.names, strict=True))
    if test.several is None:
        true, predicted = rows["true"].to_numpy(), rows["predicted"].to_numpy()
        report.tables[f"{name}: per class"] = per_class_table(true, predicted, rows["cluster"].to_numpy())
        report.tables[f"{name}: the most confused pairs"] = confused_pairs(true, predicted)
        report.figures[f"{name}: confusion"] = confusion(true, predicted, list(classes.labels))
    table = report.tables[f"{name}: per class"]
    table.insert(1, "name", table["label"].map(names))
    show_worst_errors(report, name, rows, test)
    report.notes += notes_on_glyphs([name, *classes.labels])
