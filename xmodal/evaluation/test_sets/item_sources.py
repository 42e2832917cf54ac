"""The items of a test where they are: read when they are needed, so that a test of bytes stays on disk.

Input: a manifest's items and the folder its paths start from. Output: a sequence of texts, paths, places or bytes.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmodal.data.audio import AudioError, scan_headers
from xmodal.data.items import Items
from xmodal.data.sources.tar_address import file_of, is_address
from xmodal.data.unusable import Bad

Source = str | Path | bytes


def item_source(value: str | bytes, root: Path) -> Source:
    """An item where it is: bytes, an address inside a tar under `root` (a string), or a file under it (a path)."""
    if isinstance(value, bytes):
        return value
    return str(root / value) if is_address(value) else root / value


def one_name(source: Source) -> str | bytes:
    """What tells one item from another: a file, and the archive a place lies in, has many names and one real path.

    Texts and bytes are what they hold.
    """
    if isinstance(source, bytes):
        return hashlib.sha256(source).digest()  # all of a training set's bytes would be too much to hold
    if isinstance(source, Path):
        return os.path.realpath(source)
    if is_address(source):
        archive = file_of(source)
        return os.path.realpath(archive) + source.removeprefix(archive)
    return source


def unusable_files(files: Sequence[Path], kind: str) -> list[Bad]:
    """Files that are not there; where all are, those of audio whose headers show that they cannot be used."""
    bad = [(str(file), "no such file") for file in files if not file.is_file()]
    if kind == "audio" and not bad:
        found = zip(files, scan_headers(files), strict=True)
        bad = [(str(file), str(error)) for file, error in found if isinstance(error, AudioError)]
    return bad


class Sources(Sequence[Source]):
    """Some items of a manifest, by their places among `items.values`.

    Args:
        items: of one modality.
        root: the folder that paths start from.
        is_text: texts are handed out as they are.
        places: [n] into `items.values`; default: every row's first item.

    Example:
        Sources(items, root_of(path), is_text=False)[0]  # PosixPath("data/cifar10/a.png")
    """

    def __init__(self, items: Items, root: Path, is_text: bool, places: NDArray[np.int64] | None = None) -> None:
        self.items, self.root, self.is_text = items, root, is_text
        self.places = items.first if places is None else places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, at: int) -> Source: ...
    @overload
    def __getitem__(self, at: slice) -> "Sources": ...
    def __getitem__(self, at: int | slice) -> "Source | Sources":
        """One item; of a slice the items of these places, which are not read yet."""
        if isinstance(at, slice):
            return self.part(np.arange(len(self))[at])
        value = self.items.value(int(self.places[at]))
        return value if self.is_text else item_source(value, self.root)

    def part(self, rows: NDArray[np.int64] | Sequence[int]) -> "Sources":
        """The items of some rows, in their order."""
        return Sources(self.items, self.root, self.is_text, self.places[np.asarray(rows, dtype=np.int64)])

    def files(self) -> list[Path]:
        """Those that are files of their own."""
        kind = self.items.values.type
        if self.is_text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return []
        return [source for source in self if isinstance(source, Path)]

    def __iter__(self) -> Iterator[Source]:
        return (self[at] for at in range(len(self)))
