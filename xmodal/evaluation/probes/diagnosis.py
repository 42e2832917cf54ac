"""Diagnostics of the space a model's embeddings lie in, as a report: the second half of what `xmodal probe` writes.

Input: an encoder, and a test set of items with texts, labels, or neither. Output: a `Report`. What the numbers are:
`diagnostics.py`. Axes: n pairs, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from xmodal.config.data import ModalitySpec, TextModality, as_tested
from xmodal.config.kinds import KERNELS
from xmodal.data.items import Items
from xmodal.data.manifest import read_pairs, root_of, strings
from xmodal.data.unusable import require_usable
from xmodal.encoding.encoder import Encoder
from xmodal.evaluation.probes import diagnostics
from xmodal.evaluation.statistics.jackknife import Estimate
from xmodal.evaluation.statistics.metrics import bootstrap_interval
from xmodal.evaluation.test_sets.item_sources import item_source
from xmodal.objectives.kernels import Affine, Kernel
from xmodal.prompts import readable
from xmodal.report.figures import similarity_matrix
from xmodal.report.report import Record, Report

DIAGNOSED = 10_000  # pairs; what is quadratic in them takes some ten seconds
PICTURED = 240  # items in a similarity matrix
NEIGHBOURS = 10  # of mutual kNN, as in its paper


def diagnosed(encoder: Encoder, test: Path, one: str, two: str, max_bad: float) -> Report:
    """Diagnose the items of modality `one`, and those of `two`, the texts, beside them where there are any.

    Raises UserError where more than `max_bad` of the items cannot be read.

    Example:
        diagnosed(xmodal.load("runs/cifar"), Path("test.parquet"), "image", "text", max_bad=0.01).write(folder)
    """
    name = test.stem
    pairs = _pairs(encoder, test, one, two, max_bad)
    a, b = pairs.a, pairs.b
    report = Report()
    context = {"modalities": [one] if b is None else [one, two], "texts": "class names" if pairs.named else "captions"}
    sheet = _Diagnosis(report, name, context if b is not None else {"modalities": [one]}, len(a))
    if pairs.bad:
        report.notes.append(f"{name}: {pairs.bad} items could not be read and are left out of the diagnostics.")
    if b is None:
        report.notes.append(f"{name}: no texts (a column {two!r}, or label) that the model encodes: {one} alone.")
    kernel = kernel_of(encoder)
    for modality, z in ((one, a), (two, None if pairs.named else b)):
        if z is not None:
            sheet.add(f"uniformity_{modality}", diagnostics.uniformity(z))
            drawn = diagnostics.effective_positives(z, kernel)
            guide = encoder.is_fixed(modality)
            facts = {"kernel": str(kernel), "guide": guide}
            sheet.mean(f"effective_positives_{modality}", drawn, None, facts, bounds=None)
    if b is not None:
        _compared(sheet, a, b, pairs.named)
    report.figures = _pictures(name, a, b, pairs.labels, (one, two))
    return report


def _compared(sheet: "_Diagnosis", a: Tensor, b: Tensor, named: bool) -> None:
    """Two modalities beside each other. Of class names many are equal, which says nothing of neighbours."""
    if a.shape == b.shape:
        sheet.add("modality_gap", diagnostics.modality_gap(a, b))
        sheet.mean("linear_separability", diagnostics.linear_separability(a, b), 0.5)
        shuffled = diagnostics.shuffled_alignment(a, b)
        sheet.mean("alignment", diagnostics.alignment(a, b), shuffled, bounds=(0.0, 4.0))
    if not named and len(a) >= diagnostics.FEWEST_OF_CKA:
        sheet.add("linear_cka_debiased", diagnostics.debiased_cka(a, b), 0.0)
    if not named and len(a) > NEIGHBOURS:
        chance = NEIGHBOURS / (len(a) - 1)
        sheet.mean("mutual_knn", diagnostics.mutual_knn(a, b, NEIGHBOURS), chance, {"k": NEIGHBOURS})


def kernel_of(encoder: Encoder) -> Kernel:
    """The kernel the model was trained with; CWCL's own where it had none."""
    objective = encoder.provenance.get("objective") or {}
    terms = [objective] if "kind" in objective else [term for term in objective.values() if isinstance(term, dict)]
    specs = [term["kernel"] for term in terms if term.get("kernel") is not None]
    return KERNELS.spec(specs[0]["kind"]).model_validate(specs[0]) if specs else Affine()  # type: ignore[return-value]


@dataclass
class _Diagnosis:
    """Writes records."""

    report: Report
    dataset: str
    base: dict[str, Any]
    n: int

    def add(self, metric: str, found: Estimate, chance: float | None = None) -> None:
        context = self.base | {"interval": "jackknife"}
        self.report.records.append(
            Record(self.dataset, metric, found.value, found.low, found.high, self.n, chance, context)
        )

    def mean(
        self,
        metric: str,
        values: NDArray[np.float64],
        chance: float | None = None,
        context: dict[str, Any] | None = None,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        low, high = bootstrap_interval(values, bounds=bounds)
        context = self.base | {"interval": "bootstrap"} | (context or {})
        self.report.records.append(Record(self.dataset, metric, values.mean(), low, high, len(values), chance, context))


@dataclass(frozen=True)
class _Pairs:
    a: Tensor  # [n, D]
    b: Tensor | None  # [n, D'] the texts
    labels: list[str]  # [n]
    named: bool  # the texts are class names, for want of captions
    bad: int  # items that could not be read


def _pairs(encoder: Encoder, test: Path, one: str, two: str, max_bad: float) -> _Pairs:
    """At most `DIAGNOSED` pairs; each item once, and each caption: repeats would be each other's neighbours."""
    kind = encoder.kind(one)
    sides: dict[str, ModalitySpec] = {one: as_tested(one, encoder.kinds)}
    manifest, items = read_pairs(test, sides)
    has_text = two in encoder.towers and two != one
    if has_text and two in manifest.column_names:
        manifest, items = read_pairs(test, sides | {two: TextModality()})
    labelled = "label" in manifest.column_names
    rows = _distinct(list(items.values()))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(DIAGNOSED, len(rows))).astype(int))]

    def values(modality: str) -> list[str | bytes]:
        side = items[modality]
        return [side.value(int(side.first[row])) for row in rows]

    sources = values(one)
    a, kept, skipped = encoder.encode_readable(
        one,
        sources if kind == "text" else [item_source(value, root_of(test)) for value in sources],
        progress=f"{one} of {test}",
    )
    names = strings(manifest, "id").to_pylist()
    bad = [(names[rows[at]], reason) for at, reason in skipped]
    require_usable(test, len(rows), bad, max_bad, "--max-bad")
    all_labels = strings(manifest, "label").to_pylist() if labelled else [""] * len(manifest)
    labels = [str(all_labels[row]) for row in rows[kept]]
    b, named = None, has_text and labelled and two not in items
    if named:
        classes = sorted(set(labels))
        z = encoder.encode(two, [readable(label) for label in classes])
        b = z[[classes.index(label) for label in labels]]
    elif two in items:
        texts = values(two)
        b = encoder.encode(two, [str(texts[at]) for at in kept])
    return _Pairs(a, b, labels, named, len(bad))


def _distinct(sides: Sequence[Items]) -> NDArray[np.int64]:
    """Rows whose items, on every side, no earlier row holds."""
    repeated = [pd.Series(side.ids[side.first]).duplicated().to_numpy() for side in sides]
    return np.flatnonzero(~np.logical_or.reduce(repeated))


def _pictures(name: str, a: Tensor, b: Tensor | None, labels: list[str], names: tuple[str, str]) -> dict[str, bytes]:
    order = np.argsort(np.array(labels, dtype=str), kind="stable")
    picked = order[np.linspace(0, len(order) - 1, min(PICTURED, len(order))).astype(int)]
    shown = [labels[i] for i in picked]
    one, two = names
    sides = [(one, a, one, a)]
    if b is not None:
        sides += [(two, b, two, b)] + ([(one, a, two, b)] if a.shape == b.shape else [])
    return {
        f"{name}: {row}-{column} similarity": similarity_matrix(
            (x[picked] @ y[picked].T).numpy(), shown, f"{row} and {column}", row, column
        )
        for row, x, column, y in sides
    }
