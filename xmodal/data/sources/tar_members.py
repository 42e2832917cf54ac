"""What one tar holds, by key: images, recordings, captions and classes.

Input: an uncompressed tar, open. Output: where the media lie, and what is said of them. The members of a key share the
name up to its first dot.
"""

import json
import os
import tarfile
from dataclasses import dataclass, field
from typing import BinaryIO

from xmodal.data.sources.tar_address import check_of
from xmodal.data.sources.tar_headers import BLOCK, TarHeaders

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
AUDIO_SUFFIXES = frozenset({".flac", ".mp3", ".ogg", ".wav"})
READ = IMAGE_SUFFIXES | AUDIO_SUFFIXES | {".txt", ".cls", ".json"}
MAX_TEXT = 2**20  # bytes of one .txt or .json

_Span = tuple[int, int]  # offset and size of a member's bytes
_Medium = tuple[int, int, str]  # a span, and the check of the header


@dataclass
class Members:
    """The members of one tar by key; captions are read on the way, while their part of the file is at hand."""

    images: dict[str, _Medium] = field(default_factory=dict)
    audio: dict[str, _Medium] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    json_files: dict[str, _Span] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    bad_texts: dict[str, str] = field(default_factory=dict)  # key -> reason
    dotted: dict[str, list[str]] = field(default_factory=dict)  # key -> members whose ending has a dot in it

    def sampled(self) -> list[str]:
        """The keys with an image or a recording, in the tar's order."""
        first = {key: span[0] for key, span in self.audio.items()}
        for key, span in self.images.items():
            first[key] = min(span[0], first.get(key, span[0]))
        return sorted(first, key=lambda key: first[key])

    def medium(self) -> str:
        """What a key without one lacks."""
        if self.audio and self.images:
            return "image or audio"
        return "audio" if self.audio else "image"


def read_members(file: BinaryIO, members: Members) -> str | None:
    """Fill `members`; returns what is wrong with the tar's end, if anything."""
    headers = TarHeaders(file, 0, os.fstat(file.fileno()).st_size)
    for member in headers:
        _take(file, members, member)
    return headers.wrong


def _take(file: BinaryIO, members: Members, member: tarfile.TarInfo) -> None:
    folder, slash, name = member.name.rpartition("/")
    stem, dot, ending = name.partition(".")
    if not stem or not dot:  # hidden, or without an ending
        return
    key, suffix, span = f"{folder}{slash}{stem}", f".{ending.lower()}", (member.offset_data, member.size)
    if suffix in IMAGE_SUFFIXES | AUDIO_SUFFIXES:
        media = members.images if suffix in IMAGE_SUFFIXES else members.audio
        if key in media:
            members.twice.append(member.name)
        else:
            file.seek(span[0] - BLOCK)
            media[key] = (*span, check_of(file.read(BLOCK)))
    elif suffix == ".txt":
        if key in members.texts or key in members.bad_texts:
            members.twice.append(member.name)
        else:
            take_text(file, members, key, span, is_json=False)
    elif suffix == ".cls":
        if key in members.labels:
            members.twice.append(member.name)
        else:
            file.seek(span[0])
            members.labels[key] = file.read(min(span[1], MAX_TEXT)).decode("utf-8-sig", "replace").strip()
    elif suffix == ".json":
        members.json_files.setdefault(key, span)
    elif "." in ending and f".{ending.rpartition('.')[2].lower()}" in READ:
        members.dotted.setdefault(key, []).append(name)


def take_text(file: BinaryIO, members: Members, key: str, span: _Span, is_json: bool) -> None:
    """Read a caption, of a .txt or of a .json, into `members`; or why there is none."""
    offset, size = span
    if size > MAX_TEXT:
        members.bad_texts[key] = f"a caption of {size} bytes, the limit is {MAX_TEXT}"
        return
    file.seek(offset)
    try:
        text = file.read(size).decode("utf-8-sig")
        if is_json:
            found = json.loads(text)
            caption = found.get("caption") if isinstance(found, dict) else None
            text = caption if isinstance(caption, str) else ""
            text.encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        members.bad_texts.setdefault(key, "the .json is not JSON" if is_json else "the caption is not UTF-8")
        return
    if text.strip():
        members.texts[key] = text.strip()


def shown(name: str) -> str:
    """A member's name with what is no UTF-8 written as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
