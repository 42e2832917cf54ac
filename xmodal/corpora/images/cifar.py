"""CIFAR-10 and CIFAR-100. Input: the binary version (archive or unpacked), or parquet. Output: parquet with images.

The archives most people have are pickles, which run code when they are opened; they are never read. Images of the
binary version are written as PNG, which loses nothing; those of a parquet file are kept as they are.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from xmodal.corpora.image_manifest import IMAGE_BYTES, chosen_splits, write_manifest
from xmodal.corpora.splits import has_splits
from xmodal.errors import UserError
from xmodal.progress import progress_bar

SPLITS = ("train", "test")

_SIDE = 32  # pixels
_PIXELS = 3 * _SIDE * _SIDE  # bytes: a plane of red, of green, of blue
_MAX_NAMES = 2**16  # bytes of a file of class names


@dataclass(frozen=True)
class Version:
    """One of the two corpora as it is published.

    `files`: split to its binary files, of `images` [split] images each. `labels`: a manifest column to the file of its
    names, in the order of the label bytes before an image. `pickles`: the folder of the version that is never read.
    """

    corpus: str
    archive: str
    md5: str
    folder: str
    files: Mapping[str, tuple[str, ...]]
    images: Mapping[str, int]
    labels: Mapping[str, str]
    classes: int
    pickles: str

    def size(self, split: str) -> int:
        """Bytes of one binary file of a split."""
        return self.images[split] * (len(self.labels) + _PIXELS)


CIFAR10 = Version(
    corpus="cifar10",
    archive="cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    files={"train": tuple(f"data_batch_{n}.bin" for n in range(1, 6)), "test": ("test_batch.bin",)},
    images={"train": 10_000, "test": 10_000},
    labels={"label": "batches.meta.txt"},
    classes=10,
    pickles="cifar-10-batches-py",
)
CIFAR100 = Version(
    corpus="cifar100",
    archive="cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    folder="cifar-100-binary",
    files={"train": ("train.bin",), "test": ("test.bin",)},
    images={"train": 50_000, "test": 10_000},
    labels={"coarse": "coarse_label_names.txt", "label": "fine_label_names.txt"},
    classes=100,
    pickles="cifar-100-python",
)


def prepare(
    version: Version, root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()
) -> dict[Path, int]:
    """Write `OUT/train.parquet` and `OUT/test.parquet`: `id`, `image` (its bytes), `label`; CIFAR-100: `coarse`.

    `ROOT` is the archive of the binary version (its md5 is checked), a folder that holds it or its folder unpacked, or
    a folder of `train.parquet` and `test.parquet` with columns `image {bytes, path}` and `label`. A split that was
    already made of the same file is left as it is.

    Raises:
        UserError: none of these, or only the pickles; a wrong md5, size, number of images or of classes.

    Example:
        prepare(CIFAR10, Path("data/cifar-10-binary.tar.gz"), Path("runs/data/cifar10"))
    """
    archive = root if root.is_file() else root / version.archive
    folder = root if root.name == version.folder else root / version.folder
    pickled = root / version.pickles
    if archive.is_file():
        source = f"md5 {_checked_md5(version, archive)}"
        chosen, binary = list(splits) or list(SPLITS), True
    elif folder.is_dir():
        chosen, binary = chosen_splits(folder, splits, {s: version.files[s] for s in SPLITS}), True
        source = " ".join(_stamp(folder / name) for split in SPLITS for name in version.files[split])
    elif pickled.is_dir() or (root / f"{version.corpus[:5]}-{version.corpus[5:]}-python.tar.gz").is_file():
        raise UserError(
            f"{root}: the python version, whose pickles are never opened (they can run code); "
            f"download {version.archive} in its place"
        )
    elif not any((root / f"{split}.parquet").is_file() for split in SPLITS):
        raise UserError(f"{root}: expected {version.archive}, the folder {version.folder}, or train and test.parquet")
    else:
        chosen, binary = chosen_splits(root, splits, {split: [f"{split}.parquet"] for split in SPLITS}), False
    columns = {"id": pa.string(), "image": IMAGE_BYTES} | dict.fromkeys(version.labels, pa.string())
    written: dict[Path, int] = {}
    for split in chosen:
        if binary:
            rows = _binary_rows(version, archive, folder, split)
        else:
            parquet = root / f"{split}.parquet"
            columns, source = {"id": pa.string(), "image": IMAGE_BYTES, "label": pa.string()}, _stamp(parquet)
            rows = _parquet_rows(version, parquet, split)
        made = {"corpus": version.corpus, "limit": limit, "source": source}
        written |= write_manifest(out / f"{split}.parquet", columns, _first(rows, limit), [], made)
    return written


prepare_cifar10 = has_splits(*SPLITS)(partial(prepare, CIFAR10))
prepare_cifar100 = has_splits(*SPLITS)(partial(prepare, CIFAR100))


def _checked_md5(version: Version, archive: Path) -> str:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != version.md5:
        raise UserError(f"{archive}: md5 {found}, expected {version.md5}, of {version.archive}; download it again")
    return found


def _stamp(path: Path) -> str:
    return f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" if path.is_file() else ""


def _first(rows: Iterator[dict[str, Any]], limit: int | None) -> Iterator[dict[str, Any]]:
    return rows if limit is None else (row for _, row in zip(range(limit), rows, strict=False))


def _binary_rows(version: Version, archive: Path, folder: Path, split: str) -> Iterator[dict[str, Any]]:
    sizes = dict.fromkeys(version.files[split], version.size(split)) | dict.fromkeys(
        version.labels.values(), _MAX_NAMES
    )
    found = _from_archive(archive, sizes) if archive.is_file() else _from_folder(folder, sizes)
    where = archive if archive.is_file() else folder
    names = {column: found[name].decode().split() for column, name in version.labels.items()}
    if len(names["label"]) != version.classes:
        raise UserError(f"{where}: {len(names['label'])} class names, expected {version.classes}")
    for name in version.files[split]:
        if len(found[name]) != version.size(split):
            raise UserError(
                f"{where}: {name} has {len(found[name])} bytes, expected {version.size(split)}; unpack again"
            )
    records = np.concatenate(
        [
            np.frombuffer(found[name], np.uint8).reshape(-1, len(version.labels) + _PIXELS)
            for name in version.files[split]
        ]
    )
    for number, record in enumerate(progress_bar(records, desc=f"{version.corpus} {split}", unit="images", delay=2)):
        row: dict[str, Any] = {"id": f"{split}-{number:05d}", "image": {"path": f"{split}/{number:05d}.png"}}
        for (column, of_column), value in zip(names.items(), map(int, record), strict=False):
            if value >= len(of_column):
                raise UserError(f"{where}: image {number} of {split} has the {column} {value}, of {len(of_column)}")
            row[column] = of_column[value]
        encoded = io.BytesIO()
        planes = record[len(names) :].reshape(3, _SIDE, _SIDE)
        Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))).save(encoded, "PNG")
        row["image"]["bytes"] = encoded.getvalue()
        yield row


def _from_archive(path: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """The members of these names, read in one pass; none is larger than its size."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as tar:
            for member in tar:
                name = Path(member.name).name
                file = tar.extractfile(member) if name in sizes and member.isfile() else None
                if file is not None:
                    found[name] = file.read(sizes[name] + 1)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: not a readable .tar.gz ({error}); download it again") from error
    _require(path, found, sizes)
    return found


def _from_folder(folder: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    found = {}
    for name, size in sizes.items():
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                found[name] = file.read(size + 1)
    _require(folder, found, sizes)
    return found


def _require(where: Path, found: Mapping[str, bytes], sizes: Mapping[str, int]) -> None:
    missing = [name for name in sizes if name not in found]
    if missing:
        raise UserError(f"{where}: no {', '.join(missing)} in it; is it the binary version, complete?")


def _parquet_rows(version: Version, path: Path, split: str) -> Iterator[dict[str, Any]]:
    try:
        file = pq.ParquetFile(path)
        missing = [name for name in ("image", "label") if name not in file.schema_arrow.names]
        if missing:
            raise UserError(f"{path}: missing column {', '.join(missing)}; found {', '.join(file.schema_arrow.names)}")
        labels = {str(label) for label in file.read(["label"])["label"].unique().to_pylist()}
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({' '.join(str(error).split())[:200]})") from error
    kind = file.schema_arrow.field("image").type
    if not pa.types.is_struct(kind) or {kind.field(n).name for n in range(kind.num_fields)} != {"bytes", "path"}:
        raise UserError(f"{path}: column 'image' holds {kind}, expected struct<bytes: binary, path: string>")
    expected = version.images[split] * len(version.files[split])
    if (file.metadata.num_rows, len(labels)) != (expected, version.classes):
        raise UserError(
            f"{path}: {file.metadata.num_rows} images of {len(labels)} classes, "
            f"expected {expected} of {version.classes}; is it {version.corpus}'s {split} set, whole?"
        )
    numbers = iter(range(expected))
    for batch in file.iter_batches(1000, columns=["image", "label"]):
        for row, number in zip(batch.to_pylist(), numbers, strict=False):
            yield {"id": f"{split}-{number:05d}", "image": row["image"], "label": str(row["label"])}
