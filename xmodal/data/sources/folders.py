"""Where rows may come from besides one JSONL or parquet file: a folder, a CSV, the hub. Leaves: an arrow table.

folder of tars            image, text, label; indexed, never extracted (`tar_index.py`)
folder of parquet files   memory-mapped through `datasets`
folder of class folders   the file's path under the modality's usual name, `label`
hub:NAME[@REVISION][:SPLIT]   any map-style data set `datasets` can load; default split: train
"""

import glob
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.csv

from xmodal.data.sources.tar_index import COMPRESSED, IMAGE_SUFFIXES, index_tars
from xmodal.data.unusable import Bad, listed
from xmodal.errors import UserError

IMAGES = IMAGE_SUFFIXES
AUDIO = frozenset({".wav", ".flac", ".ogg", ".mp3"})
SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})

log = logging.getLogger(__name__)


def read_csv(path: Path) -> pa.Table:
    """A CSV (or, by its suffix, TSV) with a header; every value stays as written.

    Raises:
        UserError: not a CSV.
    """
    with path.open("rb") as file:
        names = file.readline().decode("utf-8-sig", "replace").rstrip("\r\n")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    header = [name.strip('"') for name in names.split(delimiter)]
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise UserError(f"{path}: column {twice[0]!r} occurs twice in its header; rename or remove one")
    types = dict.fromkeys(header, pa.string())
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
            found = datasets.load_dataset("parquet", data_files=list(map(glob.escape, parquet)), split="train")
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            raise UserError(
                f"{folder}: its parquet files cannot be read as one: {reason}; mend or remove one"
            ) from error
        return named_labels(found.data.table, found.features)
    return _class_folders(folder)


def holds_class_folders(folder: Path) -> bool:
    """Would `read_folder` find class folders there, rather than tars or parquet files?"""
    return folder.is_dir() and not any(folder.rglob("*.parquet")) and not _holds_tars(folder)


def _holds_tars(folder: Path) -> bool:
    return any(path.name.lower().endswith((".tar", *COMPRESSED)) for path in folder.rglob("*.[tT]*"))


def _class_folders(folder: Path) -> pa.Table:
    rows: list[dict[str, Any]] = []
    empty, others = [], 0
    places = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if places and {place.name.lower() for place in places} <= SPLITS:
        raise UserError(f"{folder}: holds {', '.join(p.name for p in places)}, which are splits; name one of them")
    for place in places:
        files = [f for f in sorted(place.rglob("*")) if not f.is_dir() and not f.name.startswith(".")]
        found = [f for f in files if f.suffix.lower() in IMAGES | AUDIO]
        others += len(files) - len(found)
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
    if others:
        known = ", ".join(sorted(IMAGES | AUDIO))
        log.warning("%s: %d files are left out: neither image nor audio by their endings (%s)", folder, others, known)
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
    return named_labels(found.data.table, found.features)


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


def named_labels(table: pa.Table, features: Mapping[str, Any]) -> pa.Table:
    """A table of `datasets`, its columns of class numbers (or of lists of them) turned into the classes' names."""
    for name, feature in features.items():
        several = isinstance(feature, datasets.List | datasets.LargeList)
        labels = feature.feature if several else feature
        if isinstance(labels, datasets.ClassLabel) and name in table.column_names:

            def named(number: int | None, names: list[str] = labels.names) -> str | None:
                return None if number is None or number < 0 else names[number]

            found = table[name].to_pylist()
            values = [None if row is None else [*map(named, row)] for row in found] if several else [*map(named, found)]
            kind = pa.list_(pa.string()) if several else pa.string()
            table = table.set_column(table.column_names.index(name), name, pa.array(values, kind))
    return table
