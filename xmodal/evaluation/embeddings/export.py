"""Embeddings of many items as one file, for other programs and for `search.py`.

Input: an encoder, and the items that `find_items` found. Output: a parquet file (columns `id`, `path` or `text`, those
of the manifest, and `embedding`, a list of D float32; what made them is in the schema's metadata under `xmodal`), or a
matrix as .npy with the same beside it as .json, without the manifest's columns. Axes: m items that could be read, D
embedding.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmodal.data.unusable import listed
from xmodal.encoding.encoder import Encoder
from xmodal.errors import UserError
from xmodal.evaluation.embeddings.columns import no_columns, value_column
from xmodal.evaluation.embeddings.found_items import FoundItems
from xmodal.files import write_json, written_whole
from xmodal.progress import progress_bar

FORMATS = (".parquet", ".npy")
METADATA = b"xmodal"
INFO = {"model": str, "fingerprint": str, "modality": str, "kind": str, "root": str, "dim": int}  # what searching needs
UNIT = 0.05  # by how much the length of an embedding may differ from 1: a model in 16 bits is not exact
ROWS = 2**16  # of a row group, which is read at a time


@dataclass(frozen=True)
class EmbeddedItems:
    """Embeddings and what they are of."""

    ids: list[str]  # [m]
    values: list[str | None]  # [m] a text, or a path under info["root"]; None where the item was bytes
    z: NDArray[np.float32]  # [m, D] unit norm
    info: dict[str, Any]  # model, fingerprint, modality, kind, root, dim, skipped [(id, reason)]
    columns: pa.Table = field(default_factory=no_columns)  # [m] the manifest's other columns; none of a folder

    @property
    def kind(self) -> str:
        """Of the items: text, audio or image."""
        return str(self.info["kind"])

    def table(self) -> pa.Table:
        """All that is known of the items besides their embeddings [m]: id, text or path, the manifest's columns."""
        own = {
            "id": pa.array(self.ids, pa.large_string()),
            value_column(self.kind): pa.array(self.values, pa.large_string()),
        }
        return pa.table(own | dict(zip(self.columns.column_names, self.columns.columns, strict=True)))


def check_target(path: Path, overwrite: bool = False) -> None:
    """Raise `UserError` where embeddings cannot go: another suffix, or something is there already."""
    if path.suffix not in FORMATS:
        raise UserError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")
    there = [p for p in (path, path.with_suffix(".json")) if p.exists() and (p == path or path.suffix == ".npy")]
    if there and not overwrite:
        raise UserError(f"{there[0]}: exists; choose another name, or give --overwrite")


def embed_items(encoder: Encoder, modality: str, found: FoundItems) -> EmbeddedItems:
    """Encode, with a progress bar; what cannot be read is listed in `info["skipped"]`.

    Raises:
        UserError: no such modality, or nothing can be read.

    Example:
        found = find_items(Path("photos"), "image", "image")
        write_embeddings(Path("photos.parquet"), embed_items(encoder, "image", found))
    """
    kind = encoder.kind(modality)
    z, kept, skipped = encoder.encode_readable(modality, found.items(kind), progress=f"embedding {modality}")
    bad = [(found.ids[at], reason) for at, reason in skipped]
    if not kept:
        raise UserError(f"{found.root}: none of {len(found.ids)} items can be read; first: {listed(bad)}")
    texts = [None if isinstance(value, bytes) else value for value in (found.values[at] for at in kept)]
    columns = found.columns.take(pa.array(kept, pa.int64())) if found.columns.num_columns else found.columns
    info = {
        "model": encoder.name,
        "fingerprint": encoder.fingerprint(modality),
        "modality": modality,
        "kind": kind,
        "root": str(found.root.resolve()),
        "dim": z.shape[1],
        "skipped": bad,
    }
    return EmbeddedItems([found.ids[at] for at in kept], texts, z.numpy(), info, columns)


def write_embeddings(path: Path, embedded: EmbeddedItems, overwrite: bool = False) -> None:
    """Write a parquet file, or a matrix and its .json, whole or not at all.

    Raises:
        UserError: as `check_target`.
    """
    check_target(path, overwrite)
    if path.suffix == ".npy":
        listing = path.with_suffix(".json")
        listing.unlink(missing_ok=True)  # an older list must never stand beside the new matrix
        with written_whole(path) as beside, beside.open("wb") as file:
            np.save(file, embedded.z)
        write_json(listing, embedded.info | {"ids": embedded.ids, f"{value_column(embedded.kind)}s": embedded.values})
        return
    m, D = embedded.z.shape
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embedded.z.reshape(m * D)), D)
    table = embedded.table().append_column("embedding", vectors)
    table = table.replace_schema_metadata({METADATA: json.dumps(embedded.info)})
    others = [name for name in table.column_names if name != "embedding"]
    with written_whole(path) as beside:  # dictionaries and compression make nothing of embeddings but longer reading
        pq.write_table(
            table,
            beside,
            row_group_size=ROWS,
            use_dictionary=others,
            compression={**dict.fromkeys(others, "snappy"), "embedding.list.element": "none"},
        )


def read_embeddings(path: Path) -> EmbeddedItems:
    """What `write_embeddings` wrote as parquet.

    Raises:
        UserError: no such file, not one of embeddings, without items, or with embeddings that are not finite, or not of
            length 1.
    """
    if path.suffix == ".npy":
        raise UserError(f"{path}: a bare matrix; make the embeddings with --out {path.with_suffix('.parquet').name}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; make it with xmodal embed")
    try:
        file = pq.ParquetFile(path)
        info = json.loads(file.schema_arrow.metadata[METADATA])
        names = file.schema_arrow.names
        _require_form(path, info, names)
        what = value_column(info["kind"])
        table = file.read(columns=[name for name in names if name != "embedding"])
        others = [name for name in table.column_names if name not in ("id", what)]
        columns = table.select(others) if others else no_columns()
        z = _vectors(file, path, int(info["dim"]))
        return EmbeddedItems(table["id"].to_pylist(), table[what].to_pylist(), z, info, columns)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_embeddings(path, type(error).__name__) from error


def _not_embeddings(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: holds no embeddings of xmodal ({reason}); make it with xmodal embed")


def _require_form(path: Path, info: dict[str, Any], names: Sequence[str]) -> None:
    """Raise `UserError` where what made the embeddings is not said as `embed_items` says it, or a column is missing."""
    for key, kind in INFO.items():
        if not isinstance(info.get(key), kind):
            raise _not_embeddings(path, f"its {key} is {str(info.get(key))[:40]!r}")
    lacking = sorted({"id", value_column(info["kind"]), "embedding"} - {*names})
    if lacking:
        raise _not_embeddings(path, f"no column {lacking[0]!r}")


def _vectors(file: pq.ParquetFile, path: Path, D: int) -> NDArray[np.float32]:
    """The embeddings [m, D], a row group at a time: the matrix is held once, and one group of it twice."""
    if not file.metadata.num_rows:
        raise UserError(f"{path}: holds no item; make it again with xmodal embed --overwrite")
    z = np.empty((file.metadata.num_rows, D), np.float32)
    start = 0
    with progress_bar(total=len(z), desc=f"reading {path.name}", unit="items", delay=2) as bar:
        for group in range(file.num_row_groups):
            for batch in file.read_row_group(group, columns=["embedding"]).to_batches():
                part = z[start : start + len(batch)]
                if not pc.all(pc.equal(pc.list_value_length(batch.column(0)), D)).as_py():
                    raise _not_embeddings(path, f"not all of its embeddings have {D} numbers")
                part[:] = batch.column(0).flatten().to_numpy().reshape(len(batch), D)
                if not np.isfinite(part.sum()):
                    raise UserError(
                        f"{path}: embeddings that are not finite; make it again with xmodal embed --overwrite"
                    )
                lengths = np.sqrt(np.einsum("mD,mD->m", part, part))
                if not (np.abs(lengths - 1) < UNIT)[lengths > 0].all():
                    raise UserError(
                        f"{path}: embeddings that are not of length 1, so scores would be no cosines; make it again "
                        "with xmodal embed --overwrite"
                    )
                start += len(batch)
                bar.update(len(batch))
    return z
