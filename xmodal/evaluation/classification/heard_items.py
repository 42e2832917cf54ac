"""What a cascade and the true texts make of a zero-shot test, beside the tower of its items.

Axes: n items, C classes, D embedding.
"""

from typing import Any

from torch import Tensor

from xmodal.encoding.encoder import Encoder
from xmodal.evaluation.cascade.cascade import Cascade, Heard
from xmodal.evaluation.cascade.word_errors import can_count, error_rates
from xmodal.evaluation.classification.prompted import PromptedClassification
from xmodal.evaluation.classification.score_sheet import ScoreSheet
from xmodal.evaluation.classification.side_by_side import side_by_side
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.report.report import Report


def cascade_report(
    report: Report,
    evaluator: PromptedClassification,
    cascade: Cascade,
    encoder: Encoder,
    name: str,
    test: LabelledItems,
    vectors: Tensor,
    context: dict[str, Any],
    brief: bool,
) -> Report:
    """A report that has `acc1`, and the cascade and, where the test has true texts, the oracle beside it.

    Args:
        report: on the same items.
        evaluator: the test's.
        cascade: the recogniser.
        encoder: of the texts.
        name: of the data set.
        test: n items that can be read.
        vectors: [C, D].
        context: of the records.
        brief: leave times, error rates and tables out.
    """
    labels, text = evaluator.classes.labels, cascade.text
    heard = cascade.heard(encoder, test, None if brief else name)
    speech = report.predictions.loc[report.predictions["protocol"] == "acc1", "correct"].to_numpy(dtype=bool)
    sheet = ScoreSheet(name, test.names, test.labels, test.clusters)
    scores = 100.0 * (heard.z @ vectors.T).numpy()
    hits = sheet.score("cascade_acc1", scores, labels, context | {"input": "transcripts"}, heard.answered)
    sheet.difference("speech_minus_cascade", speech, hits, context)
    rows = {"speech": "acc1", "cascade": "cascade_acc1"}
    true = true_texts(test, text)
    if true is not None:
        z = encoder.remember(text, (cascade, "true", tuple(true)), lambda: encoder.encode(text, true))
        sheet.score("oracle_acc1", 100.0 * (z @ vectors.T).numpy(), labels, context | {"input": "true text"})
        rows["oracle"] = "oracle_acc1"
    found = Report(records=sheet.records, predictions=sheet.predictions(), notes=cascade.notes(name, heard))
    if not brief:
        found = found.merge(costs(cascade, encoder, evaluator.modality, name, test, heard, true))
    report = report.merge(found)
    if not brief:
        report.tables[f"{name}: side by side"] = side_by_side(report.records, rows | {"majority": "majority"})
    return report


def true_texts(test: LabelledItems, column: str) -> list[str] | None:
    """What was said, of all items; None where the test does not tell it of each."""
    found = test.further.get(column)
    return None if found is None or any(text is None for text in found) else [str(text) for text in found]


def costs(
    cascade: Cascade,
    encoder: Encoder,
    modality: str,
    name: str,
    test: LabelledItems,
    heard: Heard,
    true: list[str] | None,
) -> Report:
    """Time of an item by both ways, and error rates of the transcripts where it is known what was said."""
    report = Report(records=cascade.times(encoder, modality, name, test, heard))
    if true is None:
        return report
    if can_count():
        report.records += error_rates(name, true, heard.texts, test.clusters, {"cascade": cascade.name})
    else:
        report.notes.append(f"{name}: word error rates need jiwer: pip install jiwer (or xmodal[asr]).")
    return report
