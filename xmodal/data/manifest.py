"""The manifest: one row per pair.

Forms: JSONL, CSV or parquet; a folder of class folders, of parquet files or of tars; `hub:NAME` (see `sources/`).
Columns: `id` (unique; JSONL must have it, elsewhere the row's number stands in), one per modality (a text, several
captions as a list, a path relative to the manifest's folder, an image's bytes), and, where there are any, `label`,
`<modality>_id` (the name of the item itself) and others, which are kept as they are.

Nothing is cached on disk, so a manifest that changes under the same path is read anew.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmodal.config.data import ModalitySpec
from xmodal.data.items import Items, column_of, items_of, wordings_column, wordings_of
from xmodal.data.sources.checks import checked, is_text, require_columns
from xmodal.data.sources.folders import read_folder
from xmodal.data.sources.hub import read_hub
from xmodal.data.sources.tables import read_csv, read_jsonl, read_parquet
from xmodal.data.tally import Tally
from xmodal.errors import UserError
from xmodal.store import content_id

if TYPE_CHECKING:
    import pandas as pd

MADE_OF = b"xmodal.corpus"  # key of a parquet file's metadata: what `xmodal prepare` made it of, as JSON


@dataclass(frozen=True)
class Manifest:
    """The pairs of one source, n rows: columns by name, and the items of a side.

    Args:
        path: where they are from, as errors name it.
        table: the columns.
        tally: what the source left out.

    Example:
        manifest = read_manifest(Path("data/demo/train.jsonl"), ["text", "speech"])
        manifest.names[0], manifest.strings("text")[0].as_py()
        manifest[0]["text"]
    """

    path: Path
    table: pa.Table
    tally: Tally = field(default_factory=Tally)

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | str) -> dict[str, Any] | list[Any]:
        """One row, by column; or the values of one column."""
        if isinstance(key, str):
            return list(self.table[key].to_pylist())
        return {name: self.table[name][key].as_py() for name in self.column_names}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.table.to_batches():
            yield from batch.to_pylist()

    @property
    def root(self) -> Path:
        """The folder that relative paths start from."""
        return root_of(self.path)

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self.table.column_names)

    def column(self, name: str) -> pa.Array | pa.ChunkedArray:
        """One column [n] as it is; of bytes the chunks they lie in, memory-mapped or not: one may not hold them all."""
        found = self.table[name]
        whole = pa.types.is_struct(found.type) or pa.types.is_binary(found.type) or pa.types.is_large_binary(found.type)
        return found if whole else found.combine_chunks()

    def strings(self, name: str) -> pa.LargeStringArray:
        """One column [n] as a single arrow array of strings: compact, and cheap to share with forked workers."""
        chunks = self.table[name].cast(pa.large_string()).combine_chunks()
        return chunks.chunk(0) if isinstance(chunks, pa.ChunkedArray) else chunks

    @cached_property
    def names(self) -> list[str]:
        """The id of each row [n]."""
        return [str(name) for name in self.strings("id").to_pylist()]

    @cached_property
    def labels(self) -> list[str | None] | None:
        """The label of each row [n], None where it has none; None where there is no such column."""
        return list(self.strings("label").to_pylist()) if "label" in self.column_names else None

    def item_ids(self, modality: str, column: str) -> np.ndarray:
        """The item id of every row, [n] int64: from column `<modality>_id` where there is one, else from the content.

        The content of a text is the string itself, of audio the path as written (hashing the bytes would read the whole
        corpus). Raises `UserError` where `<modality>_id` is null.
        """
        named = f"{modality}_id"
        values = self.strings(named if named in self.column_names else column)
        if values.null_count:
            raise UserError(
                f"manifest column {named!r}: {values.null_count} of {len(values)} values are null; "
                "name every item, or leave the column out"
            )
        return np.fromiter((content_id(value) for value in values.to_pylist()), np.int64, len(values))

    def items(self, modality: str, spec: ModalitySpec) -> Items:
        """The items of one side.

        Raises:
            UserError: values that are not what the modality is; templates without a name.
        """
        column = column_of(modality, spec)
        ids = self.item_ids(modality, column) if f"{modality}_id" in self.column_names else None
        found = items_of(self.path, modality, spec, self.column(column), ids)
        for wordings in wordings_column(spec):
            require_columns(self.path, self.column_names, [wordings])
            found = replace(found, others=wordings_of(self.path, wordings, self.column(wordings)))
        return found

    def pairs(self, modalities: Mapping[str, ModalitySpec]) -> dict[str, Items]:
        """The items of several sides; raises as `items` does."""
        return {name: self.items(name, spec) for name, spec in modalities.items()}

    def to_pandas(self) -> "pd.DataFrame":
        """All columns as pandas has them."""
        return self.table.to_pandas()


def read_manifest(
    path: Path,
    columns: Sequence[str] = (),
    made_by: str | None = None,
    ids: bool = True,
    media: Sequence[str] = (),
) -> Manifest:
    """Read a manifest and check it; `columns` are needed besides `id` (unless `ids` is false), without null values.

    `id`, `label`, `columns` and every column ending in `_id` come back as strings, exactly as written (`007` and
    `2026-01-31` stay what they are); of the `columns`, those in `media` may hold lists of strings or bytes as well.
    `made_by` is the command that makes the file, named where the file is missing.

    Raises `UserError`: file missing, empty, not JSONL (with the line) or parquet, columns missing (with the nearest
    name), null values, ids that occur twice.

    Example:
        manifest = read_manifest(Path("data/demo/train.jsonl"), ["text", "speech"])
        manifest[0]["text"]
    """
    path = Path(path)
    hint = f"make it with: {made_by}" if made_by else "check the path"
    needed = [*(["id"] if ids else []), *dict.fromkeys(columns)]
    tally = Tally(str(path))
    table = _read_table(path, needed, media, hint, tally)
    if not len(table):
        raise UserError(f"{path}: empty, expected at least one row; {hint}")
    if ids and "id" not in table.column_names and path.suffix != ".jsonl":
        table = table.append_column("id", pa.array(map(str, range(len(table))), pa.string()))
    table = checked(path, table, needed, media)
    tally.used = len(table)
    return Manifest(path, table, tally)


def read_pairs(
    path: Path, modalities: Mapping[str, ModalitySpec], made_by: str | None = None
) -> tuple[Manifest, dict[str, Items]]:
    """A manifest and the items of its modalities.

    Raises:
        UserError: what `read_manifest` raises; values that are not what the modality is; templates without a name.
    """
    columns = [column_of(name, spec) for name, spec in modalities.items()]
    wordings = [column for spec in modalities.values() for column in wordings_column(spec)]
    manifest = read_manifest(path, columns, made_by, media=[*columns, *wordings])
    return manifest, manifest.pairs(modalities)


def made_of(path: Path) -> dict[str, Any]:
    """What a manifest of `xmodal prepare` says of its making; of any other file, and of a folder, nothing.

    `corpus`, `limit`, `left_out` (the number of items in NAME.skipped.jsonl), `source` (tells when to read the corpus
    again), and where labels, captions or the split come from: the file's name and its sha256.

    Example:
        made_of(Path("data/coco/test.parquet"))["split_file"]  # "dataset_coco.json"
    """
    try:
        made = json.loads((pq.read_metadata(path).metadata or {})[MADE_OF])
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return {}
    return made if isinstance(made, dict) else {}


def root_of(path: Path) -> Path:
    """The folder that a manifest's relative paths start from: its own, or a folder of data itself."""
    return path if path.is_dir() else path.parent


def strings(manifest: Manifest, column: str) -> pa.LargeStringArray:
    """`manifest.strings(column)`."""
    return manifest.strings(column)


def arrow_column(manifest: Manifest, column: str) -> pa.Array | pa.ChunkedArray:
    """`manifest.column(column)`."""
    return manifest.column(column)


def read_items(path: Path, manifest: Manifest, name: str, spec: ModalitySpec) -> Items:
    """`manifest.items(name, spec)`."""
    return manifest.items(name, spec)


def _read_table(path: Path, needed: Sequence[str], media: Sequence[str], hint: str, tally: Tally) -> pa.Table:
    if str(path).startswith("hub:"):
        return read_hub(str(path).removeprefix("hub:"))
    if path.is_dir():
        return read_folder(path, tally)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected a manifest (JSONL, CSV or parquet) or a folder; {hint}")
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if is_parquet:
        return read_parquet(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return read_csv(path)
    return read_jsonl(path, lambda name: is_text(name, needed), media, hint)
