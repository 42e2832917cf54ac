"""A labelled test set: items of one modality, their labels, and which of them belong together.

Enters: anything `data.train` may be. Leaves: `LabelledItems`. Axes: n items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from xmodal.config.data import as_tested
from xmodal.data.items import arrow_column, read_pairs
from xmodal.data.manifest import root_of, strings
from xmodal.data.place import is_place
from xmodal.errors import UserError


@dataclass(frozen=True)
class LabelledItems:
    """What a test holds; `labels` has one label per item, or `several` a list of them (multi-label)."""

    path: Path
    kind: str  # of the modality: image, audio, text
    names: np.ndarray  # [n] str, the ids
    sources: Sequence[str | Path | bytes]  # [n]; texts, or where the items are
    labels: np.ndarray  # [n] str objects; empty where `several` is given
    several: list[list[str]] | None
    clusters: np.ndarray  # [n] objects

    def __len__(self) -> int:
        return len(self.names)

    @property
    def files(self) -> list[Path]:
        """The items that are files of their own."""
        return [source for source in self.sources if isinstance(source, Path)]

    def part(self, rows: np.ndarray | list[int]) -> "LabelledItems":
        """Some of the items, in the order of `rows`."""
        at = np.asarray(rows, dtype=np.int64)
        return LabelledItems(
            self.path,
            self.kind,
            self.names[at],
            [self.sources[i] for i in at],
            self.labels[at] if len(self.labels) else self.labels,
            None if self.several is None else [self.several[i] for i in at],
            self.clusters[at],
        )


def read_labelled(
    path: Path, modality: str, cluster: str | None = None, kinds: Mapping[str, str] | None = None
) -> LabelledItems:
    """Read a test: columns MODALITY and `label` (or `labels`, lists: several per item), and `cluster` where asked for.

    `kinds` says what a modality of an unusual name is (see `as_tested`).

    Raises:
        UserError: what `read_manifest` raises; no label column.

    Example:
        test = read_labelled(Path("cifar10/test.parquet"), "image")
    """
    spec = as_tested(modality, kinds or {})
    manifest, items = read_pairs(path, {modality: spec})
    found = items[modality]
    columns = manifest.column_names
    several = None
    labels = np.array([], dtype=object)
    if "labels" in columns:
        column = arrow_column(manifest, "labels")
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            raise UserError(
                f"{path}: column 'labels' holds {column.type} values, expected lists; one label goes in label"
            )
        several = [[str(label) for label in row or []] for row in column.to_pylist()]
    elif "label" in columns:
        labels = np.array(strings(manifest, "label").to_pylist(), dtype=object)
        empty = np.flatnonzero(labels == None)  # noqa: E711
        if len(empty):
            raise UserError(f"{path}: label is null in {len(empty)} rows (row {empty[0] + 1}); fill or remove them")
    else:
        raise UserError(f"{path}: missing column 'label' (or 'labels'); found: {', '.join(columns)}")
    if cluster is not None and cluster not in columns:
        raise UserError(f"{path}: cluster: no column {cluster!r}; found: {', '.join(columns)}")
    names = np.array(strings(manifest, "id").to_pylist(), dtype=object)
    clusters = names if cluster is None else np.array(arrow_column(manifest, cluster).to_pylist(), dtype=object)
    values = [found.value(int(at)) for at in found.first]
    sources = values if spec.kind == "text" else [located(value, root_of(path)) for value in values]
    return LabelledItems(path, spec.kind, names, sources, labels, several, clusters)


def located(value: str | bytes, root: Path) -> str | Path | bytes:
    """An item where it is: bytes, a place under `root` (a string), or a file under it (a path)."""
    if isinstance(value, bytes):
        return value
    return str(root / value) if is_place(value) else root / value
