"""Images inside tars, read where they are. Enters: uncompressed tars as img2dataset and webdataset write them.

Leaves: a row for every image with a caption or a class, and an image's bytes by its place, `SHARD.tar@OFFSET+SIZE`:
where in the tar the image begins, and its length. With places a data set of tars is read in any order, so the shuffle
is exact and so is resuming; a shuffle buffer over a stream gives neither. Nothing is extracted: a member's name can do
no harm.
"""

import glob
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypedDict

from tqdm import tqdm

from xmodal.data.place import member_of
from xmodal.data.unusable import Bad
from xmodal.errors import UserError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_IMAGE = 64 * 2**20  # bytes
MAX_TEXT = 2**20  # bytes of one .txt or .json

_BLOCK = tarfile.BLOCKSIZE  # bytes of a header; a member's bytes follow it at once
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstandard

_Span = tuple[int, int]  # offset and size of a member's bytes


class TarRow(TypedDict):
    """One image and what is said of it. `id`: the tar's path without its ending, then the key; unique over all tars."""

    id: str
    image: str
    text: str | None  # the caption
    label: str | None  # the class, as written


@dataclass(frozen=True)
class TarIndex:
    """What one tar holds: its rows in the tar's order, and what was left out, with the reason."""

    tar: Path
    rows: list[TarRow]
    skipped: list[Bad]


@dataclass
class _Members:
    """The members of one tar by key; captions are read on the way, while their part of the file is at hand."""

    images: dict[str, _Span] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    json_files: dict[str, _Span] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    bad_texts: dict[str, str] = field(default_factory=dict)  # key -> reason


def index_tars(source: Path | str, folder: Path | None = None, skipped: list[Bad] | None = None) -> list[TarRow]:
    """The rows of every tar there; what is left out is added to `skipped`. See `scan_tars`.

    `folder`, the manifest's, is by default the folder that was given, or the one that holds the tars given.

    Example:
        index_tars(Path("data/cc12m"))[0]["image"]  # "00000.tar@1536+20481"
    """
    rows: list[TarRow] = []
    for index in scan_tars(source, folder):
        rows += index.rows
        if skipped is not None:
            skipped += index.skipped
    return rows


def scan_tars(source: Path | str, folder: Path | None = None) -> Iterator[TarIndex]:
    """Index every tar of a folder (and of the folders in it), of a pattern such as `cc12m/000*.tar`, or one tar.

    Members share a key, the name up to the first dot: `000000003.jpg`, `000000003.txt`, `000000003.json`. The caption
    is the .txt, else the field `caption` of the .json; the class is the .cls, as webdataset's sets for classification
    have it. Left out with a reason: a key without image, or with neither caption nor class; what comes twice; an empty
    image; a caption that is not UTF-8. Of a tar that was cut off the whole members are kept.

    Args:
        source: folder, pattern or file.
        folder: the manifest's folder; tars inside it are named relative to it, others by their absolute path.

    Raises:
        UserError: no tar there; a tar is compressed (there is no seeking in it).

    Example:
        for index in scan_tars(Path("data/cc12m")):
            print(index.tar, len(index.rows), index.skipped[:3])
    """
    tars, base = _find_tars(source)
    home = (folder or base).resolve()
    for path in tqdm(tars, desc="indexing", unit="tar", delay=2):
        absolute = path.resolve()
        named = absolute.relative_to(home) if absolute.is_relative_to(home) else absolute
        yield _index(path, str(named), str(path.relative_to(base).with_suffix("")))


def read_member(root: Path, place: str, max_bytes: int = MAX_IMAGE) -> bytes:
    """The bytes at a place; the tar's path is taken from `root`, the manifest's folder.

    The header before the bytes is read with them, and must give the same size: a tar written anew since it was indexed
    is found out, whatever its date.

    Raises:
        UserError: not a place, larger than `max_bytes`, no such tar, or the tar no longer fits: index it again.

    Example:
        read_member(Path("data/cc12m"), "00000.tar@1536+20481")[:2]  # b"\\xff\\xd8", a JPEG
    """
    found = member_of(place)
    if found is None:
        raise UserError(f"{place!r}: not a place inside a tar; expected SHARD.tar@OFFSET+SIZE")
    path, offset, size = root / found[0], found[1], found[2]
    if size > max_bytes:
        raise UserError(f"{root / place}: {size} bytes, the limit is {max_bytes}")
    changed = "the tar has changed since it was indexed; index it again (data_prep/prepare.py)"
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset - _BLOCK))
            read = file.read(_BLOCK + size)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; expected the tar that the manifest names") from error
    if len(read) < _BLOCK + size:
        raise UserError(f"{path}: ends before byte {offset + size}; {changed}")
    try:
        header = tarfile.TarInfo.frombuf(read[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        header = None
    if header is None or header.size != size or offset < _BLOCK:
        raise UserError(f"{path}: no member of {size} bytes at byte {offset}; {changed}")
    return read[_BLOCK:]


def _find_tars(source: Path | str) -> tuple[list[Path], Path]:
    """The tars, sorted, and the folder from which they are named."""
    root = Path(source)
    if root.is_dir():
        files = sorted(path for path in root.rglob("*") if path.is_file())
    else:
        files = [root] if root.is_file() else sorted(map(Path, glob.glob(str(source), recursive=True)))  # noqa: PTH207
    packed = [path for path in files if path.name.lower().endswith(COMPRESSED)]
    if packed:
        raise _compressed(packed[0], f" ({len(packed)} such files)" if len(packed) > 1 else "")
    tars = [path for path in files if path.suffix.lower() == ".tar"]
    if not tars:
        raise UserError(
            f"{source}: no .tar there; expected tars as img2dataset writes them (00000.tar, 00001.tar, ...)"
        )
    return tars, root if root.is_dir() else Path(os.path.commonpath([path.parent for path in tars]))


def _compressed(path: Path, more: str = "") -> UserError:
    return UserError(f"{path}: compressed{more}, and there is no seeking in a compressed tar; decompress it first")


def _index(path: Path, named: str, prefix: str) -> TarIndex:
    members, skipped = _Members(), []
    with path.open("rb") as file:
        if file.read(6).startswith(_MAGIC):
            raise _compressed(path)
        file.seek(0)
        broken = _read_headers(file, members)
        for key in [key for key in members.json_files if key in members.images and key not in members.texts]:
            _take_text(file, members, key, members.json_files[key], is_json=True)
    if broken:
        skipped.append((str(path), f"{broken}; {len(members.images)} images before it"))
    skipped += [(f"{prefix}/{_shown(name)}", "comes twice; the first is kept") for name in members.twice]
    rows: list[TarRow] = []
    for key, (offset, size) in members.images.items():
        name = f"{prefix}/{_shown(key)}"
        if not size:
            skipped.append((name, "the image is empty"))
        elif key not in members.texts and not members.labels.get(key):
            skipped.append((name, members.bad_texts.get(key, "no caption")))
        elif name != f"{prefix}/{key}":
            skipped.append((name, "the name is not UTF-8"))
        else:
            place, text, label = f"{named}@{offset}+{size}", members.texts.get(key), members.labels.get(key) or None
            rows.append({"id": name, "image": place, "text": text, "label": label})
    told = members.texts.keys() | members.labels.keys() | members.json_files.keys() | members.bad_texts.keys()
    alone = told - members.images.keys()
    skipped += [(f"{prefix}/{_shown(key)}", "no image") for key in sorted(alone)]
    return TarIndex(path, rows, skipped)


def _read_headers(file: BinaryIO, members: _Members) -> str | None:
    """Fill `members`; returns what is wrong with the tar's end, if anything."""
    whole = os.fstat(file.fileno()).st_size
    if not whole:
        return "an empty file"
    end = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it keeps every header otherwise
                if member.size < 0 or member.offset < end:
                    return f"broken header at byte {end}"
                if member.offset_data + member.size > whole:
                    return f"cut off at byte {whole}"
                end = tar.offset
                if member.isfile() and member.sparse is None:
                    _take(file, members, member)
    except (tarfile.TarError, ValueError, OverflowError):
        return f"cut off at byte {whole}" if end else "not a tar"
    file.seek(end)
    mark = file.read(_BLOCK)
    if len(mark) < _BLOCK:
        return f"cut off at byte {whole}"
    return f"broken header at byte {end}" if mark.strip(b"\0") else None


def _take(file: BinaryIO, members: _Members, member: tarfile.TarInfo) -> None:
    folder, slash, name = member.name.rpartition("/")
    stem, dot, ending = name.partition(".")
    if not stem or not dot:  # hidden, or without an ending
        return
    key, suffix, span = f"{folder}{slash}{stem}", f".{ending.lower()}", (member.offset_data, member.size)
    if suffix in IMAGE_SUFFIXES:
        if key in members.images:
            members.twice.append(member.name)
        members.images.setdefault(key, span)
    elif suffix == ".txt":
        if key in members.texts or key in members.bad_texts:
            members.twice.append(member.name)
        else:
            _take_text(file, members, key, span, is_json=False)
    elif suffix == ".cls":
        if key in members.labels:
            members.twice.append(member.name)
        else:
            file.seek(span[0])
            members.labels[key] = file.read(min(span[1], MAX_TEXT)).decode("utf-8-sig", "replace").strip()
    elif suffix == ".json":
        members.json_files.setdefault(key, span)


def _take_text(file: BinaryIO, members: _Members, key: str, span: _Span, is_json: bool) -> None:
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


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
