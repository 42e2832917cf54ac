"""A dev set beside a test, and what of the test is none of its classes.

Input: both as labelled items, whose label is null where an item is none of the classes. Output: a report. Axes: n
items, C classes, D embedding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmodal.errors import UserError
from xmodal.evaluation.test_sets.item_sources import one_name

if TYPE_CHECKING:
    from torch import Tensor

    from xmodal.evaluation.test_sets.labelled import LabelledItems
    from xmodal.report.report import Report

Encode = Callable[["LabelledItems"], tuple["Tensor", "LabelledItems"]]


class OpenSet:
    """What it takes to say "none of these".

    Args:
        test: the manifest under test.
        dev: items that choose the threshold.
        outside: items of the test that are none of the classes.
        classes: [C].

    Raises:
        UserError: a dev set that is the test, or lacks one of the two kinds.
    """

    def __init__(self, test: Path, dev: LabelledItems, outside: LabelledItems, classes: tuple[str, ...]) -> None:
        require_apart(test, dev.path)
        if dev.several is not None or outside.several is not None:
            raise UserError(f"{dev.path}: several labels per item; a threshold takes items of one label, or none")
        known = int(dev.among(classes).sum())
        if not 0 < known < len(dev):
            what = "of the classes" if known == 0 else "none of the classes (label null)"
            raise UserError(
                f"{dev.path}: none of its {len(dev)} items is {what}; a threshold is chosen on items of both kinds"
            )
        self.dev, self.outside, self.classes = dev, outside, classes

    def content(self) -> list[Any]:
        """What is under test of it."""
        from xmodal.encoding.embedding_cache import digest_of

        return [digest_of(each.sources, each.labels.tolist()) for each in (self.dev, self.outside)]

    def report(
        self,
        name: str,
        encode: Encode,
        z: Tensor,
        test: LabelledItems,
        vectors: Mapping[str, Tensor],
        context: dict[str, Any],
        brief: bool,
    ) -> Report:
        """Reject below the dev set's threshold, for each kind of class vector.

        Args:
            name: of the data set.
            encode: embeddings of what can be read of a set, and these items.
            z: [n, D] the test's items that have a label.
            test: these.
            vectors: suffix of the metrics -> [C, D].
            context: of the records.
            brief: leave the pictures out.
        """
        import numpy as np
        import pandas as pd
        import torch

        from xmodal.evaluation.open_set.rejection import Answers, rejection_picture, rejection_records, threshold_of
        from xmodal.report.report import Report

        z_dev, dev = encode(self.dev)
        z_all, sets = z, [test]
        if len(self.outside):
            z_out, outside = encode(self.outside)
            z_all, sets = torch.cat([z, z_out]), [test, outside]
        report = Report(notes=self._notes(name, test, dev))
        frames, rows = [], []
        for suffix, of_classes in vectors.items():
            chosen = Answers.of((z_dev @ of_classes.T).numpy(), self.classes, dev.labels, dev.clusters, dev.names)
            columns = (np.concatenate([getattr(s, what) for s in sets]) for what in ("labels", "clusters", "names"))
            answers = Answers.of((z_all @ of_classes.T).numpy(), self.classes, *columns)
            threshold = threshold_of(chosen)
            more = context | {"threshold_from": str(self.dev.path), "dev_items": len(dev)}
            records, outcomes = rejection_records(name, suffix, answers, threshold, len(self.classes), more)
            report.records += records
            frames.append(outcomes)
            rows += [(r.metric, r.value, r.low, r.high, r.n, r.chance, threshold) for r in records]
            picture = (
                None if brief else rejection_picture(f"none of these{suffix.replace('_', ' ')}", answers, threshold)
            )
            if picture is not None:
                report.figures[f"{name}: none of these{suffix.replace('_', ' ')}"] = picture
        report.predictions = pd.concat(frames, ignore_index=True)
        if not brief:
            columns_shown = ["metric", "value", "low", "high", "n", "chance", "threshold"]
            report.tables[f"{name}: none of these"] = pd.DataFrame(rows, columns=columns_shown)
        return report

    def _notes(self, name: str, test: LabelledItems, dev: LabelledItems) -> list[str]:
        known = int(dev.among(self.classes).sum())
        notes = [
            f"{name}: none of these: the threshold was chosen on {self.dev.path} ({known} items of the classes, "
            f"{len(dev) - known} others)."
        ]
        if not len(self.outside) and bool(test.among(self.classes).all()):
            notes.append(f"{name}: every item of the test is of a class: AUROC and FPR at 95% TPR have no value.")
        return [*notes, *shared_items(name, self.dev, test, self.outside)]


def require_apart(test: Path, dev: Path) -> None:
    """Raise `UserError` where a dev set is the test itself."""
    if os.path.realpath(test) == os.path.realpath(dev):
        raise UserError(
            f"dev: {dev} is the test itself; what is chosen on a test flatters it: give other items, such as a part of "
            "the training items cut off by speaker"
        )


def shared_items(name: str, dev: LabelledItems, *tests: LabelledItems) -> list[str]:
    """A note on items of a test that also are in its dev set; none, no note."""
    known = {one_name(source) for source in dev.sources}
    found = sum(one_name(source) in known for test in tests for source in test.sources)
    total = sum(len(test) for test in tests)
    said = f"{name}: {found} of {total} items are also in {dev.path}, which chose settings: that flatters the numbers."
    return [said] if found else []
