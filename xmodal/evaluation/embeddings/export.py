"""Embeddings of many items as one file, for other programs and for `search.py`.

Input: an encoder, and a folder of files or a manifest. Output: a parquet file (columns `id`, `path` or `text`, and
`embedding`, a list of D float32; what made them is in the schema's metadata under `xmodal`), or a matrix as .npy with
the same beside it as .json. Axes: n items found, m of them readable, D embedding.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmodal.config.data import MODALITY_OF_KIND
from xmodal.data.manifest import read_pairs, root_of, strings
from xmodal.data.sources.folders import AUDIO, IMAGES
from xmodal.data.unusable import listed
from xmodal.encoding.encoder import Encoder, Item
from xmodal.errors import UserError
from xmodal.evaluation.test_sets.item_sources import item_source
from xmodal.files import files_under, split_lines, write_json, written_whole
from xmodal.prompts import read_text

SUFFIXES = {"image": IMAGES, "audio": AUDIO, "text": {".txt"}}
FORMATS = (".parquet", ".npy")
METADATA = b"xmodal"
INFO = {"model", "fingerprint", "modality", "kind", "root", "dim"}  # what searching needs


@dataclass(frozen=True)
class FoundItems:
    """What there is to embed: a name and a value for each; a value is a text, a path under `root`, or bytes."""

    root: Path
    ids: list[str]  # [n]
    values: list[str | bytes]  # [n]

    def items(self, kind: str) -> list[Item]:
        """The items as `Encoder.encode` takes them."""
        if kind == "text":
            return list(self.values)
        return [item_source(value, self.root) for value in self.values]


@dataclass(frozen=True)
class EmbeddedItems:
    """Embeddings and what they are of."""

    ids: list[str]  # [m]
    values: list[str | None]  # [m] a text, or a path under info["root"]; None where the item was bytes
    z: NDArray[np.float32]  # [m, D] unit norm
    info: dict[str, Any]  # model, fingerprint, modality, kind, root, dim, skipped [(id, reason)]


def check_target(path: Path, overwrite: bool = False) -> None:
    """Raise `UserError` where embeddings cannot go: another suffix, or something is there already."""
    if path.suffix not in FORMATS:
        raise UserError(f"{path}: expected a name that ends in {' or '.join(FORMATS)}")
    there = [p for p in (path, path.with_suffix(".json")) if p.exists() and (p == path or path.suffix == ".npy")]
    if there and not overwrite:
        raise UserError(f"{there[0]}: exists; choose another name, or give --overwrite")


def find_items(source: Path, modality: str, kind: str, column: str | None = None) -> FoundItems:
    """The items of a folder, a text file (one item a line, blank ones passed over) or a manifest, each once.

    Args:
        source: a folder is searched to its depths for files of the kind, in order of their paths; one that holds
            none of them is read as a manifest (tars, parquet files).
        modality: as the encoder calls it; the manifest's column, unless `column` names another.
        kind: image, audio or text.
        column: of the manifest.

    Raises:
        UserError: nothing there, nothing of that kind, or what `read_manifest` raises.

    Example:
        find_items(Path("photos"), "image", "image").ids  # ["2024/a.jpg", "b.png"]
    """
    suffixes = SUFFIXES[kind]
    if source.is_dir():
        there = files_under(source)
        files = [file for file in there if file.suffix.lower() in suffixes]
        if files:
            return _lines(source, files) if kind == "text" else _files(source, files)
        if not any(file.suffix.lower() in (".tar", ".parquet") for file in there):
            raise UserError(f"{source}: no {kind} in it; expected files ending in {', '.join(sorted(suffixes))}")
    elif kind == "text" and source.suffix.lower() == ".txt" and source.is_file():
        return _lines(source.parent, [source])
    spec = MODALITY_OF_KIND[kind](column=column)
    manifest, pairs = read_pairs(source, {modality: spec})
    items, names = pairs[modality], strings(manifest, "id").to_pylist()
    seen: set[int] = set()
    ids, values = [], []
    for row, name in enumerate(names):
        places = range(len(items.values))[items.of(row)]
        for number, place in enumerate(places):
            if int(items.ids[place]) not in seen:
                seen.add(int(items.ids[place]))
                ids.append(name if len(places) == 1 else f"{name}:{number}")
                values.append(items.value(place))
    return FoundItems(root_of(source), ids, values)


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
    info = {
        "model": encoder.name,
        "fingerprint": encoder.fingerprint(modality),
        "modality": modality,
        "kind": kind,
        "root": str(found.root.resolve()),
        "dim": z.shape[1],
        "skipped": bad,
    }
    return EmbeddedItems([found.ids[at] for at in kept], texts, z.numpy(), info)


def write_embeddings(path: Path, embedded: EmbeddedItems, overwrite: bool = False) -> None:
    """Write a parquet file, or a matrix and its .json, whole or not at all.

    Raises:
        UserError: as `check_target`.
    """
    check_target(path, overwrite)
    what = "text" if embedded.info["kind"] == "text" else "path"
    if path.suffix == ".npy":
        listing = path.with_suffix(".json")
        listing.unlink(missing_ok=True)  # an older list must never stand beside the new matrix
        with written_whole(path) as beside, beside.open("wb") as file:
            np.save(file, embedded.z)
        write_json(listing, embedded.info | {"ids": embedded.ids, f"{what}s": embedded.values})
        return
    m, D = embedded.z.shape
    columns = {
        "id": pa.array(embedded.ids, pa.string()),
        what: pa.array(embedded.values, pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embedded.z.reshape(m * D)), D),
    }
    table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(embedded.info)})
    with written_whole(path) as beside:
        pq.write_table(table, beside)


def read_embeddings(path: Path) -> EmbeddedItems:
    """What `write_embeddings` wrote as parquet.

    Raises:
        UserError: no such file, or not one of embeddings.
    """
    if path.suffix == ".npy":
        raise UserError(f"{path}: a bare matrix; make the embeddings with --out {path.with_suffix('.parquet').name}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; make it with xmodal embed")
    try:
        table = pq.read_table(path)
        info = json.loads(table.schema.metadata[METADATA])
        if not info.keys() >= INFO:
            raise KeyError(sorted(INFO - info.keys())[0])
        vectors = table["embedding"].combine_chunks()
        z = vectors.flatten().to_numpy().reshape(len(table), info["dim"])
        values = table["text" if info["kind"] == "text" else "path"].to_pylist()
        return EmbeddedItems(table["id"].to_pylist(), values, z, info)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: holds no embeddings of xmodal ({type(error).__name__}); make it with xmodal embed"
        ) from error


def _files(root: Path, files: Sequence[Path]) -> FoundItems:
    names = [file.relative_to(root).as_posix() for file in files]
    for name in names:
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # what Python makes of bytes that are not UTF-8
            raise UserError(f"{root}: {name!r}: the file's name is not UTF-8; rename it")
    return FoundItems(root, names, list(names))


def _lines(root: Path, files: Sequence[Path]) -> FoundItems:
    ids, values = [], []
    for file in files:
        try:
            lines = split_lines(read_text(file))
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: not UTF-8 ({error.reason}); convert it") from error
        for number, line in enumerate(lines, start=1):
            if line.strip():
                ids.append(f"{file.relative_to(root).as_posix()}:{number}")
                values.append(line.strip())
    if not ids:
        raise UserError(f"{files[0]}: no line with text in it; expected one text per line")
    return FoundItems(root, ids, list(values))
