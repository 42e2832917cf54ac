"""ImageNet's archives read in place. Input: tars of images, or a tar of such tars. Output: names and addresses.

    ILSVRC2012_img_val.tar     ILSVRC2012_val_00000001.JPEG, ...
    n01440764.tar              n01440764_10026.JPEG, ...
    ILSVRC2012_img_train.tar   n01440764.tar, ...; a tar in a tar has its headers where they are in the outer one

Nothing is unpacked. Reading 1,281,167 headers takes a minute or two of CPU.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from xmodal.data.sources.tar_address import Member as Address
from xmodal.data.sources.tar_address import check_of
from xmodal.data.sources.tar_headers import BLOCK, TarHeaders
from xmodal.data.sources.tar_members import IMAGE_SUFFIXES
from xmodal.data.unusable import Bad
from xmodal.progress import progress_bar

Member = tuple[str, str]  # an image's name, and its address with the tar's own name: SHARD.tar@OFFSET+SIZE+CHECK


def members(tar: Path, skipped: list[Bad]) -> list[Member]:
    """The images of one tar, in its order; folders' names are dropped.

    Left out with a reason: empty images, what is no image by its name. Of a tar that was cut off, the whole images are
    kept.

    Example:
        members(Path("train/n01440764.tar"), [])[0]  # ("n01440764_10026.JPEG", "n01440764.tar@512+13697+0c0ffee0")
    """
    with tar.open("rb") as file:
        return _images(tar, file, 0, tar.stat().st_size, str(tar), skipped)


def members_of_tars(tar: Path, skipped: list[Bad]) -> Iterator[tuple[str, list[Member]]]:
    """Of a tar of tars the name of each without its ending, and its images, placed in the outer tar.

    Example:
        dict(members_of_tars(Path("data/imagenet/ILSVRC2012_img_train.tar"), []))["n01440764"][0]
    """
    with tar.open("rb") as file:
        inner = list(_headers(file, 0, tar.stat().st_size, str(tar), skipped))
        for name, offset, size in progress_bar(inner, desc=f"indexing {tar.name}", unit="class", delay=2):
            if PurePosixPath(name).suffix == ".tar":
                where = f"{tar}: {name}"
                yield PurePosixPath(name).stem, _images(tar, file, offset, offset + size, where, skipped)
            else:
                skipped.append((f"{tar}: {name}", "not a tar by its name"))


def _images(tar: Path, file: BinaryIO, start: int, end: int, where: str, skipped: list[Bad]) -> list[Member]:
    found = []
    headers = _headers(file, start, end, where, skipped)
    for name, offset, size in progress_bar(headers, desc=f"indexing {tar.name}", unit="image", delay=2, leave=False):
        reason = None if size else "an empty file"
        if PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
            reason = "not an image by its name"
        if reason:
            skipped.append((f"{where}: {name}", reason))
        else:
            file.seek(offset - BLOCK)  # tarfile goes back to where it was by itself
            found.append((name, str(Address(tar.name, offset, size, check_of(file.read(BLOCK))))))
    return found


def _headers(file: BinaryIO, start: int, end: int, where: str, skipped: list[Bad]) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of every file in the tar that lies between two bytes of `file`."""
    headers = TarHeaders(file, start, end)
    for member in headers:
        yield PurePosixPath(member.name).name, member.offset_data, member.size
    if headers.wrong:
        skipped.append((where, f"{headers.wrong}; what comes before is kept"))
