"""What the readers of image corpora share: which files are images, and one parquet manifest with what was left out.

A manifest holds `id`, `image` and `text` or `label`, and in its metadata what it was made of (`made_of`). What a reader
leaves out goes into `NAME.skipped.jsonl` beside it, an item and a reason a row.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xmodal.data.manifest import MADE_OF, made_of
from xmodal.data.sources.tar_members import IMAGE_SUFFIXES
from xmodal.data.unusable import Bad, listed
from xmodal.errors import UserError
from xmodal.files import write_json_lines, written_whole
from xmodal.progress import progress_bar

TEXTS = pa.list_(pa.string())  # several captions
IMAGE_BYTES = pa.struct({"bytes": pa.binary(), "path": pa.string()})

_BATCH = 10_000  # rows


def write_manifest(
    path: Path,
    columns: dict[str, pa.DataType],
    rows: Iterable[dict[str, Any]],
    skipped: list[Bad],
    made: dict[str, Any],
    exact: bool = False,
) -> dict[Path, int]:
    """Write one manifest and what was left out of it; returns the number of rows of each file.

    Args:
        path: the parquet file, replaced where this function wrote it for the same corpus.
        columns: name to type.
        rows: read as they are written; they may fill `skipped` on the way.
        skipped: items left out, with the reason.
        made: what the file is made of, values of JSON: `corpus`, `limit`, where its labels or captions come from; and
            `source`, a fingerprint (`fingerprint`, a checksum). Where the file there was made of the same and nothing
            was left out of it, it is left as it is and `rows` is not read.
        exact: the source tells also when something that was left out is mended: leave the file in that case, too.

    Raises:
        UserError: another's file is in the way, or another corpus' manifest; there is no row.

    Example:
        write_manifest(out / "val.parquet", {"id": pa.string()}, rows, skipped, {"corpus": "coco", "limit": None})
    """
    beside = path.with_suffix(".skipped.jsonl")
    before = made_of(path)
    for file, ours in ((path, bool(before)), (beside, path.exists())):
        if file.exists() and not ours:
            raise UserError(f"{file}: in the way, and not written here; choose another OUT, or move it")
    if before and before.get("corpus") != made["corpus"]:
        raise UserError(f"{path}: in the way, the manifest of {before.get('corpus')}; choose another OUT, or move it")
    left_out = before.pop("left_out", 0)
    gaps_known = not left_out or (exact and beside.exists())
    schema = pa.schema(columns)
    if "source" in made and before == made and gaps_known and schema.equals(pq.read_schema(path)):
        return {path: pq.read_metadata(path).num_rows} | ({beside: left_out} if left_out else {})
    stream = iter(rows)
    first = next(stream, None)
    if first is None:
        raise UserError(f"{path}: there would be no row in it; left out: {listed(skipped) or 'nothing'}")
    count = 0
    with written_whole(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for batch in _batches(itertools.chain([first], stream)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
        writer.add_key_value_metadata({MADE_OF.decode(): json.dumps(made | {"left_out": len(skipped)})})
    if not skipped:
        beside.unlink(missing_ok=True)
        return {path: count}
    listing = ({"item": printable(item), "reason": reason} for item, reason in skipped)
    return {path: count, beside: write_json_lines(beside, listing)}


def fingerprint(manifest: Path, folders: Iterable[Path] = (), files: Iterable[Path] = ()) -> str:
    """A digest that differs once a corpus has changed since its manifest was made.

    It covers each folder's date (which changes when a file in it is added, removed or renamed, but not when one is
    overwritten in place), each file's size and date, and the paths by which the manifest names them.

    Example:
        fingerprint(out / "val.parquet", [root / "val2017"], [root / "annotations" / "captions_val2017.json"])
    """
    parts: list[tuple[str, str, int, int]] = []
    for folder in folders:
        parts.append((reference(folder, manifest), "", 0, folder.stat().st_mtime_ns))
    homes: dict[Path, str] = {}
    for file in files:
        if file.parent not in homes:
            homes[file.parent] = reference(file.parent, manifest)
        status = file.stat()
        parts.append((homes[file.parent], file.name, status.st_size, status.st_mtime_ns))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_files(folder: Path, skipped: list[Bad]) -> list[str]:
    """The names of the images in a folder, sorted; hidden files are passed over.

    Left out with a reason: folders, empty files, broken links, names that are not UTF-8, files not named as images.

    Example:
        image_files(Path("data/coco/val2017"), skipped := [])[0]  # "000000000139.jpg"
    """
    names = []
    with os.scandir(folder) as entries:
        listed_by_name = sorted(entries, key=lambda entry: entry.name)
        for entry in progress_bar(listed_by_name, desc=f"listing {folder.name}", unit="file", delay=2, leave=False):
            if entry.name.startswith("."):
                continue
            reason = "a folder; images are taken from the one above it alone" if entry.is_dir() else _unusable(entry)
            if reason:
                skipped.append((str(folder / entry.name), reason))
            else:
                names.append(entry.name)
    return names


def reference(folder: Path, manifest: Path) -> str:
    """How a manifest names this folder: relative to its own if inside it ("" for its own), else absolute.

    Example:
        os.path.join(reference(root / "val2017", out / "val.parquet"), "000000000139.jpg")
    """
    folder, home = folder.resolve(), manifest.parent.resolve()
    if not folder.is_relative_to(home):
        return str(folder)
    return "" if folder == home else str(folder.relative_to(home))


def evenly(total: int, limit: int | None) -> list[int]:
    """The rows to keep of a list sorted by class, so that few rows hold many classes: `limit` of `total`, in order.

    Example:
        evenly(10, 3)  # [0, 3, 6]
    """
    wanted = total if limit is None else min(limit, total)
    return [i * total // wanted for i in range(wanted)]


def chosen_splits(root: Path, asked: Sequence[str], needed: Mapping[str, Sequence[str]]) -> list[str]:
    """The splits to prepare: those asked for, else all that are there.

    Args:
        root: the corpus' folder.
        asked: names of splits, or none.
        needed: the files and folders that each split needs, relative to `root`.

    Raises:
        UserError: something is missing, and it is named: of a split asked for, or of every split.

    Example:
        chosen_splits(root, (), {"train": ["train"], "val": ["val"]})
    """
    missing = {split: [path for path in paths if not (root / path).exists()] for split, paths in needed.items()}
    chosen = list(asked) or [split for split, paths in missing.items() if not paths]
    wanted = [path for split in chosen or needed for path in missing[split]]
    if wanted:
        found = sorted(path.name for path in root.iterdir())[:8] if root.is_dir() else ["no such folder"]
        raise UserError(
            f"{root}: expected {', '.join(dict.fromkeys(wanted))}; found {', '.join(found) or 'an empty folder'}; "
            "ROOT is the folder into which the corpus was unpacked"
        )
    return chosen


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(itertools.islice(rows, _BATCH)):
        yield batch


def _unusable(entry: "os.DirEntry[str]") -> str | None:
    try:
        entry.name.encode()
        if PurePath(entry.name).suffix.lower() not in IMAGE_SUFFIXES:
            return "not an image by its name"
        return None if entry.stat().st_size else "an empty file"
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def printable(name: str) -> str:
    """A file's name with what is no UTF-8 written as escapes, for a listing.

    Example:
        printable("a\udcff.wav")  # "a\\xff.wav"
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
