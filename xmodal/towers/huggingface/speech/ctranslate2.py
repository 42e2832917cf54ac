"""A model file of CTranslate2 (`model.bin`): named arrays, one after the other. Nothing is unpickled.

Little-endian, binary version 6: version (uint32), specification (string), its revision (uint32), how many arrays
(uint32); of each its name (string), rank (uint8), sizes (uint32 each), type (uint8), bytes (uint32) and data; how many
aliases (uint32); of each its name and that of its array (strings). A string is its length (uint16), which counts the
zero byte at its end, and its bytes.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from xmodal.errors import UserError

FILE = "model.bin"
VERSION = 6
# in the order of the file's type numbers
TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
MOST_ARRAYS, LONGEST_NAME, MOST_SIZES = 100_000, 1_000, 8  # beyond any model; a damaged file asks for no more memory


@dataclass(frozen=True)
class Array:
    """Where an array lies in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    at: int  # bytes from the start
    size: int  # bytes


@dataclass(frozen=True)
class ModelFile:
    """What a file holds; the arrays themselves are read when they are asked for."""

    path: Path
    specification: str
    revision: int
    arrays: dict[str, Array]  # aliases too

    def array(self, name: str) -> Array:
        """Where an array lies.

        Raises:
            UserError: the file has none of that name.
        """
        if name not in self.arrays:
            raise UserError(f"{self.path}: holds no array {name}; it is of another model, or convert it anew")
        return self.arrays[name]

    def tensor(self, name: str) -> Tensor:
        """An array, floating-point numbers as float32.

        Raises:
            UserError: the file has none of that name; numbers that are NaN or infinite.
        """
        array = self.array(name)
        with self.path.open("rb") as file:
            file.seek(array.at)
            data = bytearray(file.read(array.size))
        found = torch.frombuffer(data, dtype=array.dtype).reshape(array.shape)
        if not found.is_floating_point():
            return found
        if not found.isfinite().all():
            raise UserError(f"{self.path}: {name} holds numbers that are NaN or infinite; copy or convert it anew")
        return found.float()


class _Reader:
    """Reads parts of the file in order; says where it ends too early."""

    def __init__(self, file: BinaryIO, path: Path):
        self.file, self.path, self.size = file, path, path.stat().st_size

    def damaged(self, what: str) -> UserError:
        return UserError(f"{self.path}: not a whole CTranslate2 model ({what}); copy or convert it anew")

    def read(self, size: int, what: str) -> bytes:
        left = self.size - self.file.tell()
        if size > left:
            raise self.damaged(f"cut short: {what} takes {size:,} bytes at {self.file.tell():,}, {left:,} are left")
        return self.file.read(size)

    def number(self, form: str, what: str) -> int:
        return int(struct.unpack(f"<{form}", self.read(struct.calcsize(f"<{form}"), what))[0])

    def string(self, what: str) -> str:
        length = self.number("H", what)
        if not 1 < length <= LONGEST_NAME:
            raise self.damaged(f"{what} of {length:,} bytes")
        found = self.read(length, what)
        try:
            text = found[:-1].decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if found[-1] or "\0" in text:
            raise self.damaged(f"{what} that is no text")
        return text

    def array(self) -> tuple[str, Array]:
        name = self.string("the name of an array")
        rank = self.number("B", name)
        if rank > MOST_SIZES:
            raise self.damaged(f"{name} has {rank} dimensions")
        shape = tuple(self.number("I", name) for _ in range(rank))
        kind, size = self.number("B", name), self.number("I", name)
        if kind >= len(TYPES):
            raise self.damaged(f"{name} is of unknown type {kind}")
        if size != math.prod(shape) * TYPES[kind].itemsize:
            raise self.damaged(f"{name} {list(shape)} of {TYPES[kind].itemsize} bytes each takes {size:,} bytes")
        array = Array(TYPES[kind], shape, self.file.tell(), size)
        if size > self.size - array.at:
            self.read(size, name)  # says so
        self.file.seek(size, 1)
        return name, array


def read_model_file(path: Path) -> ModelFile:
    """What a `model.bin` holds.

    Raises:
        UserError: not such a file, of another version, damaged, cut short, or with something after its end.

    Example:
        read_model_file(folder / "model.bin").tensor("encoder/conv1/weight").shape  # [384, 80, 3]
    """
    try:
        with path.open("rb") as file:
            return _read(_Reader(file, path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _read(reader: _Reader) -> ModelFile:
    version = reader.number("I", "the version")
    if version != VERSION:
        raise UserError(
            f"{reader.path}: not a CTranslate2 model of binary version {VERSION} (it starts with {version}); convert "
            "the model with ctranslate2 3.0 or newer"
        )
    specification, revision = reader.string("the specification"), reader.number("I", "the revision")
    count = reader.number("I", "the number of arrays")
    if count > MOST_ARRAYS:
        raise reader.damaged(f"{count:,} arrays")
    arrays = dict[str, Array]()
    for _ in range(count):
        name, array = reader.array()
        if name in arrays:
            raise reader.damaged(f"{name} twice")
        arrays[name] = array
    count = reader.number("I", "the number of aliases")
    if count > MOST_ARRAYS:
        raise reader.damaged(f"{count:,} aliases")
    for _ in range(count):
        name, other = reader.string("an alias"), reader.string("what an alias names")
        if name in arrays or other not in arrays:
            raise reader.damaged(f"{name} is said to be {other}")
        arrays[name] = arrays[other]
    if extra := reader.size - reader.file.tell():
        raise reader.damaged(f"{extra:,} bytes after its end")
    return ModelFile(reader.path, specification, revision, arrays)
