"""Names of images that are no files. Enters: a manifest's string. Leaves: the file, and what of it is meant.

`SHARD.tar@OFFSET+SIZE`   an uncompressed member of a tar: where its bytes begin, and how many they are
`FILE@inset2`             an image without so many pixels on every side (ObjectNet's carry a red border)
"""

import re

_MEMBER = re.compile(r"(.+\.(?:tar|TAR))@(\d{1,18})\+(\d{1,18})", re.DOTALL)
_INSET = re.compile(r"(.+)@inset(\d{1,4})", re.DOTALL)


def is_place(item: str) -> bool:
    """Is this string more than the name of a file?"""
    return (_MEMBER.fullmatch(item) or _INSET.fullmatch(item)) is not None


def file_of(item: str) -> str:
    """The file a place lies in; of a file's name the name itself.

    Example:
        file_of("00000.tar@1536+20481")  # "00000.tar"
    """
    match = _MEMBER.fullmatch(item) or _INSET.fullmatch(item)
    return match[1] if match else item


def member_of(item: str) -> tuple[str, int, int] | None:
    """Tar, offset and size of a place inside a tar; None for anything else."""
    match = _MEMBER.fullmatch(item)
    return (match[1], int(match[2]), int(match[3])) if match else None


def inset_of(item: str) -> int:
    """Pixels to cut off on every side.

    Example:
        inset_of("images/alarm_clock/0a1b.png@inset2")  # 2
    """
    match = _INSET.fullmatch(item)
    return int(match[2]) if match else 0
