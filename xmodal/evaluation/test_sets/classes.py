"""The classes that a zero-shot test chooses among. Input: the evaluator's spec and the test. Output: `Classes`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xmodal.corpora.class_subsets import load_subset
from xmodal.data.manifest import made_of
from xmodal.errors import UserError
from xmodal.evaluation.test_sets.imagenet_names import imagenet_classes
from xmodal.evaluation.test_sets.labelled import LabelledItems
from xmodal.prompts import name_labels, read_names, readable

if TYPE_CHECKING:
    from xmodal.evaluation.classification.zero_shot import ZeroShot


@dataclass(frozen=True)
class Classes:
    """The candidates: labels, what they are called, and their order's source."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    context: dict[str, Any]
    notes: list[str] = field(default_factory=list)  # labels without a name, names without a label

    def seen(self, asked: Collection[str], trained: Collection[str]) -> list[str]:
        """Which of the labels `asked` are candidates that occur in training, by label or by name.

        Case, and underscores for spaces, make no difference: `sky_blue` and "Sky blue" are one class.

        Args:
            asked: labels of the test.
            trained: labels of the training pairs.
        """
        names = dict(zip(self.labels, self.names, strict=True))
        known = {readable(label).lower() for label in trained}
        found = in_order(set(asked) & names.keys())  # items of several labels may have others besides
        return [label for label in found if {readable(x).lower() for x in (label, names[label])} & known]


def candidates(spec: ZeroShot.Spec, test: LabelledItems) -> tuple[Classes, LabelledItems, int]:
    """The classes to choose among, the items that are of them, and how many others are left out.

    Raises:
        UserError: unknown subset, a label that is no candidate, fewer than two classes, names that do not fit.
    """
    found = test.found()
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
    return named_classes(labels, spec.names, spec.test, context), test, left_out


def named_classes(labels: Sequence[str], names: Path | None, test: Path, context: dict[str, Any]) -> Classes:
    """Candidates and what they are called.

    Args:
        labels: [C] distinct.
        names: a file of names by label, or `imagenet`; None: the labels, underscores as spaces.
        test: for errors.
        context: of the records.

    Raises:
        UserError: names that fit none of the labels, or that leave some of them out while others fit nothing.
    """
    if str(names) == "imagenet":
        known = imagenet_classes()
        bare = [label for label in labels if label not in known]
        if bare:  # a WordNet id is no name
            raise UserError(
                f"{test}: names: {len(bare)} of {len(labels)} labels (first {bare[0]!r}) are none of ImageNet's 1,000 "
                "WordNet ids; give the names of all in a file"
            )
        return Classes(tuple(labels), tuple(known[label] for label in labels), context)
    given = read_names(names)
    try:
        found = name_labels(labels, given, str(names))
    except UserError as error:
        raise UserError(f"{test}: {error}") from None
    return Classes(tuple(labels), tuple(found.names), context, found.notes)


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
