"""A labelled test set: items of one modality, their labels, and which of them belong together.

Input: anything `data.train` may be. Output: `LabelledItems`. Axes: n items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from xmodal.config.data import as_tested
from xmodal.data.manifest import Manifest, arrow_column, read_pairs, root_of, strings
from xmodal.data.sources.folders import holds_class_folders
from xmodal.errors import UserError
from xmodal.evaluation.test_sets.item_sources import Sources

SPEAKER = "speaker"  # the column that recordings are resampled by, where nothing else is said


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
    clustered_by: str = ""  # the column of the clusters; none: every item for itself

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
        return replace(
            self,
            names=self.names[at],
            sources=self.sources.part(at),
            labels=self.labels[at] if len(self.labels) else self.labels,
            several=None if self.several is None else [self.several[i] for i in at],
            clusters=self.clusters[at],
            further={name: values[at] for name, values in self.further.items()},
        )

    def among(self, labels: Sequence[str]) -> np.ndarray:
        """Which of the items have one of these labels, [n] bool."""
        wanted = set(labels)
        return np.array([label in wanted for label in self.labels], dtype=bool)


def read_labelled(
    path: Path,
    modality: str,
    cluster: str | None = None,
    kinds: Mapping[str, str] | None = None,
    column: str | None = None,
    label: str | None = None,
    further: Sequence[str] = (),
    optional: Sequence[str] = (),
    nulls: bool = False,
    speakers: bool = False,
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
        optional: likewise, where they are there; null is None.
        nulls: rows without a label are kept, with the label None.
        speakers: without `cluster`, recordings of one speaker belong together where a column `speaker` names two or
            more of them.

    Raises:
        UserError: what `read_manifest` raises; no label column; a null among labels or clusters.

    Example:
        test = read_labelled(Path("cifar10/test.parquet"), "image")
    """
    manifest, found = _read(path, modality, cluster, kinds, column, further, optional, speakers)
    label = label or ("labels" if "labels" in found.columns else "label")
    _require_column(path, manifest, label, nulls)
    given = arrow_column(manifest, label)
    if pa.types.is_list(given.type) or pa.types.is_large_list(given.type):
        several = given.to_pylist()
        if any(one is None for row in several for one in row):
            raise UserError(f"{path}: column {label!r} holds lists with null in them; remove these")
        return replace(found, several=[[str(one) for one in row] for row in several])
    if label == "labels":
        raise UserError(f"{path}: column 'labels' holds {given.type} values, expected lists; one label goes in label")
    return replace(found, labels=np.array(strings(manifest, label).to_pylist(), dtype=object))


def read_unlabelled(
    path: Path,
    modality: str,
    cluster: str | None = None,
    kinds: Mapping[str, str] | None = None,
    optional: Sequence[str] = (),
    speakers: bool = False,
) -> LabelledItems:
    """The items of a test whose labels are elsewhere: as `read_labelled`, without a column of labels.

    Example:
        read_unlabelled(Path("orders.jsonl"), "speech", optional=["size", "drink"]).further["size"]
    """
    return _read(path, modality, cluster, kinds, None, (), optional, speakers)[1]


def _read(
    path: Path,
    modality: str,
    cluster: str | None,
    kinds: Mapping[str, str] | None,
    column: str | None,
    further: Sequence[str],
    optional: Sequence[str],
    speakers: bool,
) -> tuple[Manifest, LabelledItems]:
    spec = as_tested(modality, kinds or {})
    if column is None and holds_class_folders(path):  # whose columns are called by what they hold
        column = spec.kind
    spec = spec.model_copy(update={"column": column})
    manifest, items = read_pairs(path, {modality: spec})
    columns = manifest.column_names
    if cluster is None and speakers and _names_speakers(manifest):
        cluster = SPEAKER
    for name in (*([] if cluster is None else [cluster]), *further):
        _require_column(path, manifest, name, False)
        if pa.types.is_nested(arrow_column(manifest, name).type):
            needed = "a cluster is named by one value" if name == cluster else "expected one text per row"
            raise UserError(f"{path}: column {name!r} holds lists or structs; {needed}")
    names = np.array(strings(manifest, "id").to_pylist(), dtype=object)
    clusters = names if cluster is None else np.array(arrow_column(manifest, cluster).to_pylist(), dtype=object)
    sources = Sources(items[modality], root_of(path), spec.kind == "text")
    there = [*further, *(name for name in optional if name in columns)]
    others = {name: np.array(strings(manifest, name).to_pylist(), dtype=object) for name in there}
    labels = np.array([], dtype=object)
    found = LabelledItems(
        path, spec.kind, names, sources, labels, None, clusters, others, frozenset(columns), cluster or ""
    )
    return manifest, found


def _require_column(path: Path, manifest: Manifest, name: str, nulls: bool) -> None:
    """Raise `UserError` where a column is not there, or holds null."""
    if name not in manifest.column_names:
        hint = " (or 'labels')" if name == "label" else ""
        raise UserError(f"{path}: missing column {name!r}{hint}; found: {', '.join(manifest.column_names)}")
    empty = np.flatnonzero(arrow_column(manifest, name).is_null().to_numpy(zero_copy_only=False))
    if len(empty) and not nulls:
        raise UserError(f"{path}: {name} is null in {len(empty)} rows (row {empty[0] + 1}); fill or remove them")


def _names_speakers(manifest: Manifest) -> bool:
    """Does every row name its speaker, and are there two of them at least?"""
    if SPEAKER not in manifest.column_names:
        return False
    column = arrow_column(manifest, SPEAKER)
    return not pa.types.is_nested(column.type) and not column.null_count and len(column.unique()) > 1
