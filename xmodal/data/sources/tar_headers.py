"""The headers of a tar, one after the other: the only walk over tars there is, of whole files and of tars in tars."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE  # bytes of a header; a member's bytes follow it at once


class TarHeaders:
    """The files in the tar that lies between two bytes of `file`, in its order; folders, links and holes passed over.

    Members are given as long as they are whole; then `wrong` says what is the matter with the tar's end, if anything.
    Between two members the file may be read anywhere: `tarfile` goes back to where it was.

    Example:
        headers = TarHeaders(file, 0, size)
        names = [member.name for member in headers]
        headers.wrong  # None, or "cut off at byte 7268"
    """

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self.file, self.start, self.end = file, start, end
        self.wrong: str | None = None

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        self.file.seek(self.start)
        if self.end == self.start:
            self.wrong = "an empty file"
            return
        after = self.start
        cut = f"cut off at byte {self.end - self.start}"
        try:
            with tarfile.open(fileobj=self.file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # it keeps every header otherwise
                    if member.size < 0 or member.offset < after:
                        self.wrong = f"broken header at byte {after - self.start}"
                        return
                    if member.offset_data + member.size > self.end:
                        self.wrong = cut
                        return
                    after = tar.offset
                    if member.isfile() and member.sparse is None:
                        yield member
        except (tarfile.TarError, ValueError, OverflowError):
            self.wrong = cut if after > self.start else "not a tar"
            return
        self.file.seek(after)
        mark = self.file.read(min(BLOCK, max(0, self.end - after)))
        if len(mark) < BLOCK:
            self.wrong = cut
        elif mark.strip(b"\0"):
            self.wrong = f"broken header at byte {after - self.start}"
