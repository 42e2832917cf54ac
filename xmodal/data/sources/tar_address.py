"""Addresses: names of items that are only a part of a file. From the string to the file, the part, and its bytes.

`SHARD.tar@OFFSET+SIZE+CHECK`   an uncompressed member of a tar: where its bytes begin, how many they are, and the crc32
                                of the header before them; manifests of earlier versions leave the check out
`FILE@inset2`                   an image without so many pixels on every side (ObjectNet's carry a red border)
"""

import re
import zlib
from pathlib import Path
from tarfile import BLOCKSIZE, HeaderError, TarInfo
from typing import NamedTuple

from xmodal.errors import UserError

MAX_IMAGE = 64 * 2**20  # bytes of one member

_MEMBER = re.compile(r"(.+\.(?i:tar))@(\d{1,18})\+(\d{1,18})(?:\+([0-9a-f]{8}))?", re.DOTALL)
_INSET = re.compile(r"(.+)@inset(\d{1,4})", re.DOTALL)


class Member(NamedTuple):
    """An address inside a tar; `str` of it is the manifest's string.

    Example:
        str(Member("00000.tar", 1536, 20481, "0c0ffee0"))  # "00000.tar@1536+20481+0c0ffee0"
    """

    tar: str
    offset: int  # of the first byte
    size: int  # bytes
    check: str | None  # of the header, see `check_of`

    def __str__(self) -> str:
        return f"{self.tar}@{self.offset}+{self.size}" + (f"+{self.check}" if self.check else "")


def check_of(header: bytes) -> str:
    """What tells a member of a tar from another of the same size: crc32 of its header (name, date, owner, size).

    Of names over 100 characters the header holds the beginning alone.

    Args:
        header: the 512 bytes before the member's own.

    Example:
        check_of(bytes(512))  # "b2aa7578"
    """
    return f"{zlib.crc32(header):08x}"


def is_address(item: str) -> bool:
    """Is this string more than the name of a file?"""
    return (_MEMBER.fullmatch(item) or _INSET.fullmatch(item)) is not None


def file_of(item: str) -> str:
    """The file an address points into; of a file's name the name itself.

    Example:
        file_of("00000.tar@1536+20481+0c0ffee0")  # "00000.tar"
    """
    match = _MEMBER.fullmatch(item) or _INSET.fullmatch(item)
    return match[1] if match else item


def member_of(item: str) -> Member | None:
    """The parts of an address inside a tar; None for anything else."""
    match = _MEMBER.fullmatch(item)
    return Member(match[1], int(match[2]), int(match[3]), match[4]) if match else None


def inset_of(item: str) -> int:
    """Pixels to cut off on every side.

    Example:
        inset_of("images/alarm_clock/0a1b.png@inset2")  # 2
    """
    match = _INSET.fullmatch(item)
    return int(match[2]) if match else 0


def read_member(root: Path, address: str, max_bytes: int = MAX_IMAGE) -> bytes:
    """The bytes at an address; the tar's path is taken from `root`, the manifest's folder.

    The header before the bytes is read with them, and must be the one that was there when the tar was indexed: another
    member in its place is found out, also one of the same size. Of an address without a
    check the size alone is compared.

    Raises:
        UserError: not an address, larger than `max_bytes`, no such tar, or the tar no longer fits: index it again.

    Example:
        read_member(Path("data/cc12m"), "00000.tar@1536+20481+0c0ffee0")[:2]  # b"\\xff\\xd8", a JPEG
    """
    found = member_of(address)
    if found is None:
        raise UserError(f"{address!r}: not an address inside a tar; expected SHARD.tar@OFFSET+SIZE+CHECK")
    path, offset, size = root / found.tar, found.offset, found.size
    if size > max_bytes:
        raise UserError(f"{root / address}: {size} bytes, the limit is {max_bytes}")
    changed = "the tar has changed since it was indexed; index it again (xmodal prepare)"
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset - BLOCKSIZE))
            read = file.read(BLOCKSIZE + size)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; expected the tar that the manifest names") from error
    if len(read) < BLOCKSIZE + size:
        raise UserError(f"{path}: ends before byte {offset + size}; {changed}")
    try:
        header = TarInfo.frombuf(read[:BLOCKSIZE], "utf-8", "surrogateescape")
    except HeaderError:
        header = None
    if header is None or header.size != size or offset < BLOCKSIZE:
        raise UserError(f"{path}: no member of {size} bytes at byte {offset}; {changed}")
    if found.check and check_of(read[:BLOCKSIZE]) != found.check:
        raise UserError(f"{path}: another member of {size} bytes at byte {offset}; {changed}")
    return read[BLOCKSIZE:]
