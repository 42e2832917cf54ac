"""What spoken intents came to: accuracy, oracle and their ratio by kind of class vector; recall per intent; pictures.

Axes: n utterances, C intents, D embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from xmodal.evaluation.cascade.cascade import Heard
from xmodal.evaluation.classification.score_sheet import ScoreSheet
from xmodal.evaluation.classification.side_by_side import side_by_side
from xmodal.evaluation.classification.worst_errors import show_worst_errors
from xmodal.evaluation.statistics.metrics import per_class_table
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.report.figures import confusion, similarity_matrix
from xmodal.report.report import Report

PICTURED = 240  # items in a similarity matrix


class IntentScores:
    """One test, scored among one set of candidates after another.

    Args:
        dataset: its name in the report.
        test: n utterances.
        labels: [C] all candidates.
        examples: label -> number of example sentences behind its mean; empty without examples.
        context: of the records.
    """

    def __init__(
        self,
        dataset: str,
        test: LabelledItems,
        labels: tuple[str, ...],
        examples: Mapping[str, int],
        context: dict[str, Any],
    ) -> None:
        self.dataset, self.labels, self.examples, self.context = dataset, labels, examples, context
        self.sheet = ScoreSheet(dataset, test.names, test.labels, test.clusters)
        self.kinds: tuple[str, ...] = ()

    def add(
        self,
        speech: Tensor,
        texts: Tensor,
        vectors: Mapping[str, Tensor],
        suffix: str,
        among: tuple[str, ...],
        heard: Heard | None = None,
    ) -> None:
        """Score speech, its oracle (the true text) and its cascade among some of the candidates; then compare them.

        Args:
            speech: [n, D].
            texts: [n, D] the true transcripts.
            vectors: kind ("prompt", "mean") -> [C, D].
            suffix: of the metrics' names.
            among: labels to choose among.
            heard: what a cascade makes of the utterances.
        """
        self.kinds = tuple(vectors)
        context = {"candidates": list(among), **self.context}
        rows = [self.labels.index(label) for label in among]
        hits = {}
        inputs: dict[str, tuple[Tensor, str, NDArray[np.bool_] | None]]
        inputs = {"accuracy": (speech, "speech", None), "oracle": (texts, "true text", None)}
        if heard is not None:
            inputs["cascade"] = (heard.z, "transcripts", heard.answered)
        for source, (z, what, answered) in inputs.items():
            for kind, of_classes in vectors.items():
                detail = context | {"class_vectors": kind, "input": what}
                if kind == "mean":
                    detail["examples"] = sum(self.examples[label] for label in among)
                scores = (z @ of_classes[rows].T).numpy()
                hits[source, kind] = self.sheet.score(f"{source}_{kind}{suffix}", scores, among, detail, answered)
        for kind in vectors:
            self.sheet.ratio(f"of_oracle_{kind}{suffix}", hits["accuracy", kind], hits["oracle", kind], context)
            if heard is not None:
                gap = hits["accuracy", kind], hits["cascade", kind]
                self.sheet.difference(f"speech_minus_cascade_{kind}{suffix}", *gap, context)
        self.sheet.majority(f"majority{suffix}", len(among), context)

    def beside(self, suffix: str) -> dict[str, str]:
        """What stands in one table, by row: speech, cascade, oracle and majority; the metrics' names."""
        sources = [("speech", "accuracy"), ("cascade", "cascade"), ("oracle", "oracle")]
        known = {record.metric for record in self.sheet.records}
        rows = {f"{what}, {kind}": f"{source}_{kind}{suffix}" for what, source in sources for kind in self.kinds}
        return {row: metric for row, metric in rows.items() if metric in known} | {"majority": f"majority{suffix}"}

    def report(self, tables: Sequence[str] = ()) -> Report:
        """Records and outcomes; a table of recall per intent for each suffix in `tables`."""
        report = Report(
            title=f"Spoken intents: {self.dataset}",
            records=self.sheet.records,
            predictions=self.sheet.predictions(),
        )
        for suffix in tables:
            table = side_by_side(report.records, self.beside(suffix))
            report.tables[f"{self.dataset}: side by side" + suffix.replace("_", " ")] = table
            title = f"{self.dataset}: per intent" + suffix.replace("_", " ")
            report.tables[title] = self._per_intent(report.predictions, suffix)
        return report

    def _per_intent(self, predictions: pd.DataFrame, suffix: str) -> pd.DataFrame:
        columns: dict[str, pd.Series] = {}
        for kind in self.kinds:
            for source in ("accuracy", "oracle"):
                rows = predictions[predictions["protocol"] == f"{source}_{kind}{suffix}"]
                table = per_class_table(
                    rows["true"].to_numpy(), rows["predicted"].to_numpy(), rows["cluster"].to_numpy()
                ).set_index("label")
                columns.setdefault("n", table["n"])
                columns[f"{source}_{kind}"] = table["recall"]
                if source == "accuracy":
                    columns[f"{kind}_low"], columns[f"{kind}_high"] = table["low"], table["high"]
        frame = pd.DataFrame(columns).reset_index(names="intent")
        if self.examples:
            frame.insert(2, "examples", frame["intent"].map(self.examples).fillna(0).astype(int))
        return frame


def show(report: Report, name: str, test: LabelledItems, speech: Tensor, texts: Tensor, said: str) -> None:
    """Add similarities within and between speech and text [n, D] each, the confusion of intents and the worst errors.

    `said` is the column of what is said in each recording.
    """
    true = test.labels
    order = np.argsort(true.astype(str), kind="stable")
    picked = order[np.linspace(0, len(order) - 1, min(PICTURED, len(order))).astype(int)]
    s, t, labels = speech[picked], texts[picked], list(true[picked])
    report.figures |= {
        f"{name}: text-text similarity": similarity_matrix((t @ t.T).numpy(), labels, "text and text"),
        f"{name}: speech-speech similarity": similarity_matrix((s @ s.T).numpy(), labels, "speech and speech"),
        f"{name}: speech-text similarity": similarity_matrix((s @ t.T).numpy(), labels, "speech and text"),
    }
    protocols = set(report.predictions["protocol"])
    protocol = "accuracy_mean" if "accuracy_mean" in protocols else "accuracy_prompt"
    rows = report.predictions[report.predictions["protocol"] == protocol]
    classes = sorted(set(rows["true"]) | set(rows["predicted"]))
    report.figures[f"{name}: confusion ({protocol})"] = confusion(
        rows["true"].to_numpy(), rows["predicted"].to_numpy(), classes
    )
    show_worst_errors(report, name, rows, test, said)
