"""A labelled test set: items of one modality, their labels, and which of them belong together.

Input: anything `data.train` may be. Output: `LabelledItems`. Axes: n items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from xmodal.config.data import as_tested
from xmodal.data.manifest import arrow_column, read_pairs, root_of, strings
from xmodal.data.sources.folders import holds_class_folders
from xmodal.errors import UserError
from xmodal.evaluation.test_sets.located import Sources


@dataclass(frozen=True)
class LabelledItems:
    """What a test holds; `labels` has one label per item, or `several` a list of them (multi-label)."""

    path: Path
    kind: str  # of the modality: image, audio, text
    names: np.ndarray  # [n] str, the ids
    sources: Sources  # [n]; texts, or where the items are
    labels: np.ndarray  # [n] str objects; empty where `several` is given
    several: list[list[str]] | None
    clusters: np.ndarray  # [n] objects
    further: dict[str, np.ndarray] = field(default_factory=dict)  # other columns that were asked for, [n] str objects
    columns: frozenset[str] = frozenset()  # all that the manifest has

    def __len__(self) -> int:
        return len(self.names)

    @property
    def files(self) -> list[Path]:
        """The items that are files of their own."""
        return self.sources.files()

    def found(self) -> set[str]:
        """The labels that occur."""
        return set(self.labels) if self.several is None else {label for row in self.several for label in row}

    def part(self, rows: np.ndarray | list[int]) -> "LabelledItems":
        """Some of the items, in the order of `rows`."""
        at = np.asarray(rows, dtype=np.int64)
        return LabelledItems(
            self.path,
            self.kind,
            self.names[at],
            self.sources.part(at),
            self.labels[at] if len(self.labels) else self.labels,
            None if self.several is None else [self.several[i] for i in at],
            self.clusters[at],
            {name: values[at] for name, values in self.further.items()},
            self.columns,
        )


def read_labelled(
    path: Path,
    modality: str,
    cluster: str | None = None,
    kinds: Mapping[str, str] | None = None,
    column: str | None = None,
    label: str | None = None,
    further: Sequence[str] = (),
) -> LabelledItems:
    """Read a test.

    Args:
        path: anything `data.train` may be.
        modality: of the items.
        cluster: column whose equal values belong together; default: every item for itself.
        kinds: what a modality of an unusual name is (see `as_tested`).
        column: of the items; default: the modality's name.
        label: column of the labels; default: `labels` (lists, several per item) where there is one, else `label`.
        further: other columns of texts to read, without null.

    Raises:
        UserError: what `read_manifest` raises; no label column; a null among labels or clusters.

    Example:
        test = read_labelled(Path("cifar10/test.parquet"), "image")
    """
    spec = as_tested(modality, kinds or {})
    if column is None and holds_class_folders(path):  # whose columns are called by what they hold
        column = spec.kind
    spec = spec.model_copy(update={"column": column})
    manifest, items = read_pairs(path, {modality: spec})
    found = items[modality]
    columns = manifest.column_names
    label = label or ("labels" if "labels" in columns else "label")
    for asked in (label, *([] if cluster is None else [cluster]), *further):
        if asked not in columns:
            hint = " (or 'labels')" if asked == "label" else ""
            raise UserError(f"{path}: missing column {asked!r}{hint}; found: {', '.join(columns)}")
        empty = np.flatnonzero(arrow_column(manifest, asked).is_null().to_numpy(zero_copy_only=False))
        if len(empty):
            raise UserError(f"{path}: {asked} is null in {len(empty)} rows (row {empty[0] + 1}); fill or remove them")
        if asked != label and pa.types.is_nested(arrow_column(manifest, asked).type):
            needed = "a cluster is named by one value" if asked == cluster else "expected one text per row"
            raise UserError(f"{path}: column {asked!r} holds lists or structs; {needed}")
    labels, several = np.array([], dtype=object), None
    given = arrow_column(manifest, label)
    if pa.types.is_list(given.type) or pa.types.is_large_list(given.type):
        several = given.to_pylist()
        if any(one is None for row in several for one in row):
            raise UserError(f"{path}: column {label!r} holds lists with null in them; remove these")
        several = [[str(one) for one in row] for row in several]
    elif label == "labels":
        raise UserError(f"{path}: column 'labels' holds {given.type} values, expected lists; one label goes in label")
    else:
        labels = np.array(strings(manifest, label).to_pylist(), dtype=object)
    names = np.array(strings(manifest, "id").to_pylist(), dtype=object)
    clusters = names if cluster is None else np.array(arrow_column(manifest, cluster).to_pylist(), dtype=object)
    sources = Sources(found, root_of(path), spec.kind == "text")
    others = {name: np.array(strings(manifest, name).to_pylist(), dtype=object) for name in further}
    return LabelledItems(
        path, spec.kind, names, sources, labels, several, clusters, others, frozenset(manifest.column_names)
    )
