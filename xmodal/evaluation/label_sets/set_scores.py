"""Answers of several label sets to the same recordings: each set by itself, and all together.

Axes: n recordings, C values of a set, D embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from xmodal.evaluation.classification.score_sheet import ScoreSheet
from xmodal.evaluation.label_sets.phrases import Sets
from xmodal.evaluation.statistics.metrics import bootstrap_interval, majority, paired_interval
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.report.report import Record, Report

ALL = "all"  # what the sets together are called
INPUTS = {"accuracy": "speech", "cascade": "transcripts", "oracle": "true text"}


def moved(z: Tensor, mean: Tensor | None) -> Tensor:
    """Unit vectors [n, D] with a mean [D] taken off, at unit length again; without one as they are."""
    return z if mean is None else normalize(z - mean, dim=-1)


@dataclass
class SetScores:
    """Records and outcomes of one test.

    Args:
        dataset: its name in the report.
        test: n recordings; `further` holds a column per set.
        sets: set -> values.
        context: of the records.
    """

    dataset: str
    test: LabelledItems
    sets: Sets
    context: dict[str, Any]
    records: list[Record] = field(default_factory=list)
    frames: list[pd.DataFrame] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)  # of the table
    _right: dict[tuple[str, str], NDArray[np.bool_]] = field(default_factory=dict)  # (source, set and kind) -> [m]

    def given(self, name: str) -> NDArray[np.bool_]:
        """Which recordings have a value of this set, [n]."""
        values = set(self.sets[name])
        return np.array([value in values for value in self.test.further[name]], dtype=bool)

    def add(
        self,
        source: str,
        kind: str,
        z: Tensor,
        vectors: Mapping[str, Tensor],
        answered: NDArray[np.bool_] | None = None,
    ) -> None:
        """Score every set, then all together, as SOURCE_SET_KIND.

        A recording is right in all where it is in every set of which it has a value; one without any is left out.

        Args:
            source: accuracy, cascade or oracle.
            kind: of the class vectors.
            z: [n, D].
            vectors: set -> [C, D].
            answered: [n]; others are wrong.
        """
        context = self.context | {"class_vectors": kind, "input": INPUTS[source]}
        n = len(self.test)
        right, some, chance = np.ones(n, dtype=bool), np.zeros(n, dtype=bool), np.ones(n)
        told = np.full(n, "", dtype=object), np.full(n, "", dtype=object)
        for name, values in self.sets.items():
            given = self.given(name)
            labels = self.test.further[name][given]
            sheet = ScoreSheet(self.dataset, self.test.names[given], labels, self.test.clusters[given])
            detail = context | {"candidates": list(values), "left_out": int((~given).sum())}
            scores = (z[given] @ vectors[name].T).numpy()
            metric = f"{source}_{name}_{kind}"
            hits = sheet.score(metric, scores, values, detail, None if answered is None else answered[given])
            self._take(sheet, name, source, kind, hits)
            right[given] &= hits
            some |= given
            chance[given] /= len(values)
            for text, column in zip(told, ("true", "predicted"), strict=True):
                more = sheet.predictions()[column].to_numpy()
                text[given] = [f"{a}; {b}" if a else b for a, b in zip(text[given], more, strict=True)]
        together = pd.DataFrame(
            {
                "dataset": self.dataset,
                "protocol": f"{source}_{ALL}_{kind}",
                "item": self.test.names[some].astype(str),
                "cluster": self.test.clusters[some].astype(str),
                "true": told[0][some],
                "predicted": told[1][some],
                "score": np.nan,
                "correct": right[some],
            }
        )
        self._take_all(together, source, kind, some, float(chance[some].mean()), context)

    def differences(self) -> None:
        """Speech minus cascade, paired, for every set and kind that both were scored for."""
        for (source, what), hits in list(self._right.items()):
            others = self._right.get(("cascade", what))
            if source != "accuracy" or others is None:
                continue
            name = what.rpartition("_")[0]
            given = self._some() if name == ALL else self.given(name)
            low, high = paired_interval(hits, others, self.test.clusters[given])
            gap = float(hits.mean() - others.mean())
            metric = f"speech_minus_cascade_{what}"
            self.records.append(Record(self.dataset, metric, gap, low, high, len(hits), 0.0, self.context))

    def majorities(self) -> None:
        """The most frequent value of every set, and the most frequent combination."""
        whole = np.full(len(self.test), "", dtype=object)
        for name, values in self.sets.items():
            given = self.given(name)
            whole[given] = [f"{a}; {b}" for a, b in zip(whole[given], self.test.further[name][given], strict=True)]
            self._majority(name, self.test.further[name][given], given, 1 / len(values))
        self._majority(ALL, whole[self._some()], self._some(), None)

    def report(self, title: str) -> Report:
        """Records and outcomes of all that was scored."""
        return Report(title=title, records=self.records, predictions=pd.concat(self.frames, ignore_index=True))

    def _some(self) -> NDArray[np.bool_]:
        return np.any([self.given(name) for name in self.sets], axis=0)

    def _take(self, sheet: ScoreSheet, name: str, source: str, kind: str, hits: NDArray[np.bool_]) -> None:
        [record] = sheet.records
        self.records.append(record)
        self.frames.append(sheet.predictions())
        self.rows.append((name, source, kind, record.value, record.low, record.high, record.n, record.chance))
        self._right[source, f"{name}_{kind}"] = hits

    def _take_all(
        self,
        outcomes: pd.DataFrame,
        source: str,
        kind: str,
        some: NDArray[np.bool_],
        chance: float,
        context: dict[str, Any],
    ) -> None:
        """Outcomes of all sets together, of the recordings [n] that have a value of some set."""
        right = outcomes["correct"].to_numpy()
        mean, n = float(right.mean()), len(right)
        low, high = bootstrap_interval(right, self.test.clusters[some])
        detail = context | {"left_out": int((~some).sum())}
        self.records.append(Record(self.dataset, f"{source}_{ALL}_{kind}", mean, low, high, n, chance, detail))
        self.frames.append(outcomes)
        self.rows.append((ALL, source, kind, mean, low, high, n, chance))
        self._right[source, f"{ALL}_{kind}"] = right

    def _majority(self, name: str, labels: NDArray[Any], given: NDArray[np.bool_], chance: float | None) -> None:
        share, label = majority(labels.astype(str))
        low, high = bootstrap_interval(labels.astype(str) == label, self.test.clusters[given])
        context = self.context | {"label": str(label).removeprefix("; ")}
        self.records.append(Record(self.dataset, f"majority_{name}", share, low, high, len(labels), chance, context))
        self.rows.append((name, "majority", "", share, low, high, len(labels), chance))
