"""Where rows may come from besides one JSONL or parquet file: a folder, a CSV, the hub. Leaves: an arrow table.

folder of tars            image, text, label; indexed, never extracted (`tar_index.py`)
folder of parquet files   memory-mapped through `datasets`
folder of class folders   the file's path under the modality's usual name, `label`
hub:NAME[@REVISION][:SPLIT]   any map-style data set `datasets` can load; default split: train
"""

import logging
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.csv

from xmodal.data.tar_index import COMPRESSED, IMAGE_SUFFIXES, index_tars
from xmodal.data.unusable import Bad, listed
from xmodal.errors import UserError

IMAGES = IMAGE_SUFFIXES
AUDIO = frozenset({".wav", ".flac", ".ogg", ".mp3"})

log = logging.getLogger(__name__)


def read_csv(path: Path) -> pa.Table:
    """A CSV (or, by its suffix, TSV) with a header; every value stays as written.

    Raises:
        UserError: not a CSV.
    """
    with path.open("rb") as file:
        names = file.readline().decode("utf-8-sig", "replace").rstrip("\r\n")
    delimiter = "\t" if path.suffix == ".tsv" else ","
    types = {name.strip('"'): pa.string() for name in names.split(delimiter)}
    try:
        return pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""]),
        )
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable CSV ({str(error).splitlines()[0]}); expected a header line") from error


def read_folder(folder: Path) -> pa.Table:
    """Tars, parquet files, or class folders, by what the folder holds.

    Raises:
        UserError: it holds none of them.
    """
    if _holds_tars(folder):
        skipped: list[Bad] = []
        rows = index_tars(folder, skipped=skipped)
        if skipped:
            log.warning("%s: %d samples of its tars are left out, first: %s", folder, len(skipped), listed(skipped))
        table = pa.Table.from_pylist([dict(row) for row in rows])
        return table.drop_columns([name for name in ("text", "label") if table[name].null_count == len(table)])
    parquet = sorted(map(str, folder.glob("**/*.parquet")))
    if parquet:
        try:
            found = datasets.load_dataset("parquet", data_files=parquet, split="train")
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            raise UserError(
                f"{folder}: its parquet files cannot be read as one: {reason}; mend or remove one"
            ) from error
        return _named_labels(found)
    return _class_folders(folder)


def holds_class_folders(folder: Path) -> bool:
    """Would `read_folder` find class folders there, rather than tars or parquet files?"""
    return folder.is_dir() and not any(folder.rglob("*.parquet")) and not _holds_tars(folder)


def _holds_tars(folder: Path) -> bool:
    return any(path.name.endswith((".tar", *COMPRESSED)) for path in folder.rglob("*.t*"))


def _class_folders(folder: Path) -> pa.Table:
    rows: list[dict[str, Any]] = []
    empty = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found = [f for f in sorted(place.rglob("*")) if f.suffix.lower() in IMAGES | AUDIO and not f.is_dir()]
        if not found:
            empty.append(place.name)
        for file in found:
            name = str(file.relative_to(folder))
            if any("\ud800" <= letter <= "\udfff" for letter in name):  # what Python makes of bytes that are not UTF-8
                raise UserError(f"{folder}: {name!r}: the file's name is not UTF-8; rename it")
            kind = "image" if file.suffix.lower() in IMAGES else "audio"
            rows.append({"id": name, kind: name, "label": place.name})
    if empty and rows:
        shown = ", ".join(empty[:3]) + (", ..." if len(empty) > 3 else "")
        raise UserError(f"{folder}: {len(empty)} class folders hold no image or audio ({shown}); fill or remove them")
    if not rows:
        raise UserError(
            f"{folder}: expected *.tar, *.parquet, or class folders with images or audio in them, found none of these"
        )
    return pa.Table.from_pylist(rows)


def read_hub(name: str) -> pa.Table:
    """`NAME[@REVISION][:SPLIT]` through `datasets.load_dataset`, memory-mapped; NAME may be a local folder.

    Raises:
        UserError: it cannot be had.
    """
    try:
        found = datasets.load_dataset(**hub_parts(name))
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(f"hub:{name}: {reason}; check name, split and connection") from error
    return _named_labels(found)


def hub_parts(name: str) -> dict[str, str | None]:
    """`NAME[@REVISION][:SPLIT]` as arguments of `datasets.load_dataset`; a local folder's name may hold an @.

    Raises:
        UserError: no name.

    Example:
        hub_parts("cifar10:test")  # {"path": "cifar10", "revision": None, "split": "test"}
    """
    rest, _, split = name.partition(":")
    place, _, revision = (rest, "", "") if Path(rest).is_dir() else rest.partition("@")
    if not place:
        raise UserError(f"hub:{name}: names no data set; expected hub:NAME[@REVISION][:SPLIT]")
    return {"path": place, "revision": revision or None, "split": split or "train"}


def _named_labels(found: datasets.Dataset) -> pa.Table:
    """The data set's table, a column of class numbers turned into the classes' names."""
    table = found.data.table
    for name, feature in found.features.items():
        if isinstance(feature, datasets.ClassLabel):
            numbers = table[name].to_pylist()
            names = [None if n is None or n < 0 else feature.names[n] for n in numbers]
            table = table.set_column(table.column_names.index(name), name, pa.array(names, pa.string()))
    return table
