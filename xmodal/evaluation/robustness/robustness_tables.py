"""What a report on prompt templates shows: records, tables, pictures, per-item answers.

Input: what `robustness.measure` found for each run, and the test it was found on. Output: a `Report`.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xmodal.evaluation.classification.zero_shot import ZeroShot
from xmodal.evaluation.robustness.perturbations import perturbed_sets
from xmodal.evaluation.robustness.robustness import NEAR_PEAK, Robustness
from xmodal.evaluation.robustness.robustness_answer import robustness_answer
from xmodal.evaluation.statistics.metrics import bootstrap_interval, bootstrap_intervals, paired_interval
from xmodal.evaluation.test_sets.classes import Classes
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.report.fonts import notes_on_glyphs
from xmodal.report.report import Record, Report
from xmodal.report.robustness_figures import CurvePoint, template_curve, template_ranking


@dataclass(frozen=True)
class Question:
    """What is asked of every run: n items, the classes to choose among, the templates."""

    name: str  # of the data set
    test: LabelledItems
    classes: Classes
    templates: list[str]
    spec: ZeroShot.Spec
    zero_shot: bool | None  # None: not known; none of the classes occurs in the training of any run
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The C distinct class names, each at the place of its first class."""
        return list(dict.fromkeys(self.classes.names))

    @property
    def owners(self) -> list[str]:
        """The label that each of `names` is an answer for: its first class."""
        pairs = list(zip(self.classes.names, self.classes.labels, strict=True))
        first = dict(reversed(pairs))
        return [first[name] for name in self.names]

    @property
    def shared(self) -> dict[str, int]:
        """Names of several classes -> how many."""
        return {name: many for name, many in Counter(self.classes.names).items() if many > 1}

    def answers(self) -> NDArray[np.int64]:
        """The place of each item's class among `names`, [n]; -1 where an earlier class has its name: never right."""
        place = {label: number for number, label in enumerate(self.owners)}
        return np.array([place.get(label, -1) for label in self.test.labels], dtype=np.int64)


def write_up(found: Mapping[str, Robustness], question: Question) -> Report:
    """Records, tables, pictures and per-item answers of what `measure` found, by run.

    Metrics: accuracy_k1, ... and accuracy_all (means over subsets, intervals over items), sensitivity, k_near_peak, and
    "PERTURBATION - original"; of several runs each is followed by ": RUN", and there is "METRIC: RUN - OTHER".
    """
    return _WriteUp(found, question).report()


class _WriteUp:
    """One report in the making."""

    def __init__(self, found: Mapping[str, Robustness], question: Question) -> None:
        self.found, self.question = found, question
        self.name, self.templates, self.clusters = question.name, question.templates, question.test.clusters
        self.chance = 1 / len(question.classes.labels)
        self.records: list[Record] = []
        spec = question.spec
        self.context: dict[str, Any] = {
            "prompts": spec.prompts,
            "templates": len(self.templates),
            "zero_shot": question.zero_shot,
            "clusters": spec.cluster or "every item for itself",
            **question.classes.context,
        }

    def report(self) -> Report:
        first = next(iter(self.found.values()))
        singles = {run: bootstrap_intervals(r.hits[1], self.clusters) for run, r in self.found.items()}
        tables = {
            "Accuracy against the number of templates": self._curve_table(),
            "Templates, ranked": self._ranking_table(singles),
            "Best and worst subsets": self._extremes_table(),
        }
        if first.perturbed:
            tables["Perturbations: every template reworded, against the original set"] = self._perturbed_table()
        if len(self.found) > 1:
            tables["Differences between runs"] = self._differences_table()
        for run, r in self.found.items():
            self._summary(run, r)
        curves = {run: [self._point(r, k) for k in r.ks] for run, r in self.found.items()}
        accuracies = {run: r.single.tolist() for run, r in self.found.items()}
        title = f"{self.name}: {len(self.templates)} templates of {self.question.spec.prompts}"
        figures = {
            "Accuracy against the number of templates": template_curve(curves, title, self.chance),
            "Every template by itself": template_ranking(self.templates, accuracies, singles, title),
        }
        return Report(
            title=f"Prompt templates: {self.name}",
            records=self.records,
            provenance={"test": str(self.question.test.path), "templates": self.templates},
            predictions=pd.concat([self._predictions(run, r) for run, r in self.found.items()], ignore_index=True),
            tables=tables,
            figures=figures,
            notes=self._notes(),
            answer=robustness_answer(self.name, self.found, self.templates, self.records, self.question.test),
        )

    def _of(self, run: str) -> str:
        return f": {run}" if len(self.found) > 1 else ""

    def _metric(self, k: int) -> str:
        return "accuracy_all" if k == len(self.templates) else f"accuracy_k{k}"

    def _record(self, metric: str, value: float, interval: tuple[float, float] | None = None, **rest: Any) -> None:
        low, high = interval or (None, None)
        chance = rest.pop("chance", None)
        n = len(self.question.test)
        self.records.append(Record(self.name, metric, value, low, high, n, chance, self.context | rest))

    def _point(self, r: Robustness, k: int) -> CurvePoint:
        s = r.spread(k)
        return CurvePoint(k, s.mean, s.low, s.high, s.worst_accuracy, s.best_accuracy)

    def _curve_table(self) -> pd.DataFrame:
        shared = np.array([name in self.question.shared for name in self.question.names])
        rows = []
        for run, r in self.found.items():
            for k in r.ks:
                s = r.spread(k)
                interval = bootstrap_interval(r.item_means(k), self.clusters)
                more: dict[str, Any] = {"k": k, "subsets": s.subsets}
                if s.subsets > 1:
                    more |= {"sd": s.sd, "p5": s.low, "p95": s.high}
                    more |= {"best": s.best_accuracy, "best_templates": self._named(s.best)}
                    more |= {"worst": s.worst_accuracy, "worst_templates": self._named(s.worst)}
                if k == len(self.templates):
                    more |= {"candidates": list(self.question.classes.labels), "ties": r.whole.ties}
                    more["answers_of_shared_names"] = int(shared[r.whole.predicted].sum())
                self._record(self._metric(k) + self._of(run), s.mean, interval, chance=self.chance, **more)
                rows.append((run, k, s.subsets, s.mean, *interval, s.sd, s.low, s.high, s.worst_accuracy,
                             s.best_accuracy))  # fmt: skip
        columns = ["run", "k", "subsets", "mean", "low", "high", "sd", "5%", "95%", "worst", "best"]
        return pd.DataFrame(rows, columns=columns)

    def _ranking_table(self, intervals: Mapping[str, Sequence[tuple[float, float]]]) -> pd.DataFrame:
        columns: dict[str, Any] = {"template": self.templates}
        for run, r in self.found.items():
            before = f"{run}: " if len(self.found) > 1 else ""
            columns[before + "accuracy"] = r.single
            columns[before + "low"], columns[before + "high"] = zip(*intervals[run], strict=True)
        order = np.argsort(-next(iter(self.found.values())).single, kind="stable")
        frame = pd.DataFrame(columns).iloc[order].reset_index(drop=True)
        frame.insert(0, "rank", range(1, len(frame) + 1))
        return frame

    def _extremes_table(self) -> pd.DataFrame:
        rows = []
        for run, r in self.found.items():
            for k in r.ks:
                s = r.spread(k)
                if s.subsets > 1:
                    rows.append((run, k, "best", s.best_accuracy, " | ".join(self._named(s.best))))
                    rows.append((run, k, "worst", s.worst_accuracy, " | ".join(self._named(s.worst))))
        return pd.DataFrame(rows, columns=["run", "k", "subset", "accuracy", "templates"])

    def _perturbed_table(self) -> pd.DataFrame:
        sets = perturbed_sets(self.templates)  # to count what each changed
        rows = []
        for run, r in self.found.items():
            whole = r.item_means(len(self.templates))
            for name, hits in r.perturbed.items():
                gap = float(hits.mean() - whole.mean())
                low, high = paired_interval(hits, whole, self.clusters)
                changed = sum(a != b for a, b in zip(sets[name], self.templates, strict=True))
                sure = low > 0 or high < 0
                facts = {"changed": changed, "accuracy": float(hits.mean()), "excludes_0": sure}
                self._record(f"{name} - original{self._of(run)}", gap, (low, high), chance=0.0, **facts)
                rows.append((run, name, changed, float(hits.mean()), gap, low, high, sure))
        columns = ["run", "perturbation", "templates changed", "accuracy", "difference", "low", "high", "excludes 0"]
        return pd.DataFrame(rows, columns=columns)

    def _differences_table(self) -> pd.DataFrame:
        rows = []
        for (a, of_a), (b, of_b) in itertools.combinations(self.found.items(), 2):
            for k in of_a.ks:
                means = of_a.item_means(k), of_b.item_means(k)
                gap = float(means[0].mean() - means[1].mean())
                low, high = paired_interval(*means, self.clusters)
                sure = low > 0 or high < 0
                self._record(f"{self._metric(k)}: {a} - {b}", gap, (low, high), chance=0.0, k=k, excludes_0=sure)
                rows.append((f"{a} - {b}", k, gap, low, high, sure))
        return pd.DataFrame(rows, columns=["runs", "k", "difference", "low", "high", "excludes 0"])

    def _summary(self, run: str, r: Robustness) -> None:
        # no interval: a resample's spread holds its own sampling noise, so the bootstrap's would sit too high
        self._record("sensitivity" + self._of(run), r.sensitivity, what="sd of accuracy over single templates")
        what = f"smallest k with {NEAR_PEAK:.0%} of the highest mean"
        interval = r.enough_interval(self.clusters)
        self._record("k_near_peak" + self._of(run), r.enough(), interval, what=what, ks=list(r.ks))

    def _predictions(self, run: str, r: Robustness) -> pd.DataFrame:
        test = self.question.test
        predicted = np.array(self.question.owners, dtype=object)[r.whole.predicted]
        columns = {
            "dataset": self.name,
            "protocol": "accuracy_all" + self._of(run),
            "item": test.names.astype(str),
            "cluster": test.clusters.astype(str),
            "true": test.labels,
            "predicted": predicted,
            "score": r.whole.score,
            "correct": predicted == test.labels,
        }
        return pd.DataFrame(columns)

    def _named(self, subset: Sequence[int]) -> list[str]:
        return [self.templates[number] for number in subset]

    def _notes(self) -> list[str]:
        shared = self.question.shared
        notes = [*self.question.notes, *notes_on_glyphs([self.name, *self.found, *self.templates])]
        if not shared:
            return notes
        listed = ", ".join(itertools.islice(shared, 4)) + (", ..." if len(shared) > 4 else "")
        return [
            *notes,
            f"{self.name}: {len(shared)} class names belong to several classes ({listed}): the first class is "
            "answered, so items of the others are never right.",
        ]
