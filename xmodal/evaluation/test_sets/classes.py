"""The classes that a zero-shot test chooses among. Enters: the evaluator's spec and the test. Leaves: `Classes`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from xmodal.config.evaluators import ZeroShotEvaluator
from xmodal.corpora.class_subsets import load_subset
from xmodal.data.manifest import made_of
from xmodal.errors import UserError
from xmodal.evaluation.test_sets.imagenet_names import imagenet_classes
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.prompts import read_names, readable


@dataclass(frozen=True)
class Classes:
    """The candidates: labels, what they are called, and their order's source."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    context: dict[str, Any]


def candidates(spec: ZeroShotEvaluator, test: LabelledItems) -> tuple[Classes, LabelledItems, int]:
    """The classes to choose among, the items that are of them, and how many others are left out.

    Raises:
        UserError: unknown subset, a label that is no candidate, fewer than two classes.
    """
    found = set(test.labels) if test.several is None else {label for row in test.several for label in row}
    told = ("corpus", "classes_from", "classes_sha256", "labels_from", "labels_sha256")  # of the manifest's making
    context: dict[str, Any] = {key: value for key, value in made_of(spec.test).items() if key in told}
    labels, left_out = in_order(found), 0
    if spec.classes is not None:
        if isinstance(spec.classes, str):
            subset = load_subset(spec.classes)
            labels = subset.labels
            context |= {"classes_from": subset.source, "classes_sha256": subset.sha256}
        else:
            labels = _distinct(spec.classes, found, spec.test)
        if test.several is None:
            wanted = set(labels)
            rows = np.flatnonzero([label in wanted for label in test.labels])
            left_out = len(test) - len(rows)
            test = test.part(rows)
            if not len(test):
                raise UserError(
                    f"{spec.test}: none of its {len(found)} labels (first {sorted(found)[0]!r}) is among the classes"
                )
    if len(labels) < 2:
        raise UserError(f"{spec.test}: {len(labels)} class ({', '.join(labels)}), expected two or more to choose among")
    if spec.names is not None and str(spec.names) == "imagenet":
        given: Any = imagenet_classes()
    else:
        given = read_names(spec.names)
    if given and not given.keys() & set(labels):
        raise UserError(
            f"{spec.test}: names: none of the {len(given)} names of {spec.names} is for one of its labels "
            f"({', '.join(labels[:3])}, ...); check that they are of the same kind"
        )
    names = [given.get(label, readable(label)) for label in labels]
    blank = [label for label, name in zip(labels, names, strict=True) if not name.strip()]
    if blank:
        raise UserError(f"{spec.test}: the class {blank[0]!r} has an empty name; give it one in names")
    return Classes(tuple(labels), tuple(names), context), test, left_out


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels sorted; class numbers by their size, so that the first of two equal names is the one of the lower number.

    Example:
        in_order({"10", "9"})  # ["9", "10"]
    """
    found = list(labels)
    return (
        sorted(found, key=lambda label: (int(label), label))
        if all(label.isdecimal() for label in found)
        else sorted(found)
    )


def _distinct(classes: Sequence[str], found: set[str], path: Path) -> list[str]:
    unknown = [label for label in classes if label not in found]
    if unknown:
        near = get_close_matches(unknown[0], found, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(sorted(found)[:8])}"
        raise UserError(f"classes: {unknown[0]!r} is no label of {path}{hint}")
    if len(set(classes)) < len(classes):
        raise UserError(f"classes: {', '.join(classes)}: a label is named twice; name each once")
    return list(classes)
