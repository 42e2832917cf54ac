"""Rows of a stream under the names of a manifest. Input: hub:NAME, or a folder of tars or parquet files.

Of local tars the headers are read, and a row names an image or a recording by its address; the rest is read through
`datasets`.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from torch.utils.data import get_worker_info

from xmodal.data.sources.folders import parquet_arguments, parquet_files
from xmodal.data.sources.hub import hub_parts
from xmodal.data.sources.tar_index import find_tars, scan_tar
from xmodal.data.sources.tar_members import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from xmodal.errors import UserError

if TYPE_CHECKING:
    import datasets

OUT = "__left_out__"  # in place of a row: the reason why there is none

_SOURCE_ERRORS = (OSError, ValueError, RuntimeError, tarfile.TarError)
_TAR_ROW = ("id", "image", "audio", "text", "label", OUT)


def open_stream(path: Path) -> tuple["datasets.IterableDataset", dict[str, list[str]]]:
    """A data set as a stream, no image decoded; and the names behind each column of class numbers.

    Raises:
        UserError: not a thing that can be streamed, or it cannot be had; a tar is compressed.
    """
    import datasets  # late, see `tables.py`

    tars = find_tars(path) if path.is_dir() else []
    parquet = parquet_files(path) if path.is_dir() and not tars else []
    try:
        if str(path).startswith("hub:"):
            found = datasets.load_dataset(**hub_parts(str(path).removeprefix("hub:")), streaming=True)
        elif tars:
            found = datasets.IterableDataset.from_generator(
                _tar_rows,
                datasets.Features({name: datasets.Value("string") for name in _TAR_ROW}),
                {"tars": tars, "folder": path},
            )
        elif parquet:
            found = datasets.load_dataset("parquet", split="train", streaming=True, **parquet_arguments(parquet))
        else:
            raise UserError(f"{path}: data.streaming takes hub:NAME or a folder of tars or parquet files; leave it out")
    except (*_SOURCE_ERRORS, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"{path}: cannot be streamed: {' '.join(str(error).split())[:200]}") from error
    kinds = found.features or {}
    classes = {name: kind.names for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)}
    found = found.decode(False) if kinds else found
    for name in [name for name, kind in kinds.items() if isinstance(kind, datasets.Json)]:
        found = found.cast_column(name, kinds[name])  # undecoded, its strings would be in quotes
    return found, classes


def _tar_rows(tars: Sequence[Path], folder: Path) -> Iterator[dict[str, Any]]:
    """What tars hold, an image or a recording by its address; of what is left out of them the name and the reason."""
    for tar in tars:
        index = scan_tar(tar, folder, folder)
        for row in index.rows:
            yield {**dict.fromkeys(_TAR_ROW), **row}
        for name, reason in index.skipped:
            yield {**dict.fromkeys(_TAR_ROW), "id": name, OUT: reason}


def read_stream(path: Path, stream: "datasets.IterableDataset") -> Iterator[dict[str, Any]]:
    """The rows as they come. A damaged parquet file, or a tar of the hub that is cut short, ends them with one line.

    In a DataLoader's worker they come in the same order: `iter` of a data set shuffles otherwise there, batches do not.
    """
    import datasets
    import fsspec.asyn

    if get_worker_info() is not None:
        fsspec.asyn.reset_lock()  # of the process that was forked; reading from the hub would wait for it for ever
    rows = stream.iter(batch_size=1)
    while True:
        try:
            row = {name: values[0] for name, values in next(rows).items()}
        except StopIteration:
            return
        except (*_SOURCE_ERRORS, datasets.exceptions.DatasetsError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: cannot be read on: {reason}; find and mend or remove the damaged file") from error
        yield row


def named_row(row: dict[str, Any], classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A row of a tar under the names of a manifest; class numbers, in any row, as the classes' names."""
    if OUT in row:
        return {name: value for name, value in row.items() if value is not None}
    if "__key__" not in row:
        numbers = {name: row[name] for name in classes if isinstance(row.get(name), int)}
        return {**row, **{name: classes[name][at] if at >= 0 else None for name, at in numbers.items()}}
    media = {}
    for kind, suffixes in (("image", IMAGE_SUFFIXES), ("audio", AUDIO_SUFFIXES)):
        found = (present(value) for name, value in row.items() if f".{name.lower()}" in suffixes)
        media[kind] = next((value for value in found if value is not None), None)
    label = None if row.get("cls") is None else str(row["cls"])
    text, about = row.get("txt"), row.get("json")
    if not (text or "").strip() and isinstance(about, dict):
        text = about.get("caption")
    shard = PurePosixPath(row.get("__url__") or "").stem  # of the hub's address; keys may begin again in every shard
    named = {"id": f"{shard}/{row['__key__']}", **media, "text": text, "label": label}
    return {name: value for name, value in {**row, **named}.items() if value is not None}


def present(value: Any) -> Any:
    """A value, or None for what stands for a missing one: NaN, as pandas has it; an image without bytes and path.

    Example:
        present(float("nan"))  # None
    """
    if isinstance(value, list):
        return [present(one) for one in value]
    if isinstance(value, dict) and all(one is None for one in value.values()):
        return None
    return None if value != value else value


def name_of(row: dict[str, Any]) -> str:
    """A row's id; where that is None a digest of the row's content, the same in every epoch.

    Example:
        name_of({"id": None, "text": "a dog"})  # 16 hexadecimal digits
    """
    if row["id"] is not None:
        return str(row["id"])
    found = hashlib.blake2b(digest_size=8)

    def add(value: Any) -> None:
        parts = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else None
        data = value if isinstance(value, bytes) else str(value if parts is None else len(parts)).encode()
        found.update(f"{type(value).__name__}{len(data)}:".encode() + data)
        for part in parts or ():
            add(part)

    add([value for name, value in row.items() if name != "id"])
    return found.hexdigest()
