"""Folders of data as arrow tables.

folder of tars            image or audio, text, label; indexed, never extracted (`tar_index.py`)
folder of parquet files   memory-mapped through `datasets`
folder of class folders   the file's path under the modality's usual name, `label`

Folders in it are searched to their depths, links to folders too (`files_under`).
"""

import glob
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xmodal.data.sources.tables import features_of, named_labels
from xmodal.data.sources.tar_index import COMPRESSED, index_tars
from xmodal.data.sources.tar_members import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from xmodal.data.tally import Tally
from xmodal.data.unusable import Bad, listed
from xmodal.errors import UserError
from xmodal.files import files_under

IMAGES = IMAGE_SUFFIXES
AUDIO = AUDIO_SUFFIXES
SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})

log = logging.getLogger(__name__)


def read_folder(folder: Path, tally: Tally | None = None) -> pa.Table:
    """Tars, parquet files, or class folders, by what the folder holds; what is left out goes into `tally`.

    Raises:
        UserError: it holds none of them, or nothing in them can be used.
    """
    tally = Tally(str(folder)) if tally is None else tally
    files = files_under(folder)
    if _holds_tars(files):
        return _tars(folder, tally)
    parquet = _parquet(files)
    if not parquet:
        return _class_folders(folder, tally)
    import datasets  # late, see `tables.py`

    try:
        found = datasets.load_dataset("parquet", split="train", **parquet_arguments(parquet))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(f"{folder}: its parquet files cannot be read as one: {reason}; mend or remove one") from error
    return named_labels(found.data.table, found.features)


def parquet_arguments(files: Sequence[Path]) -> dict[str, Any]:
    """What `datasets.load_dataset` needs to read parquet files as one, without the columns it cannot hold (maps)."""
    arguments: dict[str, Any] = {"data_files": {"train": [glob.escape(str(file)) for file in files]}}
    try:
        schema = pq.read_schema(files[0])
    except (pa.ArrowException, OSError):
        return arguments  # the library says what is wrong with it
    features = features_of(schema)
    if len(features) < len(schema.names):
        arguments |= {"features": features, "columns": list(features)}
    return arguments


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder and of the folders in it, sorted."""
    return _parquet(files_under(folder))


def holds_class_folders(folder: Path) -> bool:
    """Would `read_folder` find class folders there, rather than tars or parquet files?"""
    files = files_under(folder) if folder.is_dir() else []
    return folder.is_dir() and not _parquet(files) and not _holds_tars(files)


def _parquet(files: Sequence[Path]) -> list[Path]:
    return [file for file in files if file.suffix == ".parquet"]


def _holds_tars(files: Sequence[Path]) -> bool:
    return any(file.name.lower().endswith((".tar", *COMPRESSED)) for file in files)


def _tars(folder: Path, tally: Tally) -> pa.Table:
    skipped: list[Bad] = []
    rows = index_tars(folder, skipped=skipped)
    for name, reason in skipped:
        tally.leave_out(name, reason)
    if not rows:
        raise UserError(
            f"{folder}: no sample of its tars can be used; left out: {listed(skipped) or 'nothing'}; "
            "expected images or recordings with captions or classes, as img2dataset and webdataset write them"
        )
    if skipped:
        log.warning("%s: %d samples of its tars are left out, first: %s", folder, len(skipped), listed(skipped))
    columns = {name: [row.get(name) for row in rows] for name in ("id", "image", "audio", "text", "label")}
    return pa.table({name: values for name, values in columns.items() if any(value is not None for value in values)})


def _class_folders(folder: Path, tally: Tally) -> pa.Table:
    rows: list[dict[str, Any]] = []
    empty, others = [], 0
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if classes and {path.name.lower() for path in classes} <= SPLITS:
        raise UserError(f"{folder}: holds {', '.join(p.name for p in classes)}, which are splits; name one of them")
    for path in classes:
        files = [file for file in files_under(path) if not file.name.startswith(".")]
        found = [file for file in files if file.suffix.lower() in IMAGES | AUDIO]
        for file in files if len(found) < len(files) else ():
            if file.suffix.lower() not in IMAGES | AUDIO:
                others += 1
                tally.leave_out(str(file.relative_to(folder)), "neither image nor audio by its ending")
        if not found:
            empty.append(path.name)
        for file in found:
            name = str(file.relative_to(folder))
            if any("\ud800" <= letter <= "\udfff" for letter in name):  # what Python makes of bytes that are not UTF-8
                raise UserError(f"{folder}: {name!r}: the file's name is not UTF-8; rename it")
            kind = "image" if file.suffix.lower() in IMAGES else "audio"
            rows.append({"id": name, kind: name, "label": path.name})
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
