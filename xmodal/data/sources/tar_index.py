"""Images inside tars, read where they are.

Input: uncompressed tars as img2dataset and webdataset write them. Output: a row for every image with a caption or a
class. It holds the image's address (`tar_address.py`): where in the tar it begins, its length, and a check of its
header. With addresses a data set of tars is read in any order, so the shuffle is exact. Nothing is extracted: a
member's name can do no harm.
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

from xmodal.data.sources.tar_address import Member, check_of
from xmodal.data.sources.tar_headers import BLOCK, TarHeaders
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.files import files_under

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
READ = IMAGE_SUFFIXES | {".txt", ".cls", ".json"}
MAX_TEXT = 2**20  # bytes of one .txt or .json

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

    images: dict[str, tuple[int, int, str]] = field(default_factory=dict)  # a span, and the check of the header
    texts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    json_files: dict[str, _Span] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    bad_texts: dict[str, str] = field(default_factory=dict)  # key -> reason
    dotted: dict[str, list[str]] = field(default_factory=dict)  # key -> members whose ending has a dot in it


def index_tars(source: Path | str, folder: Path | None = None, skipped: list[Bad] | None = None) -> list[TarRow]:
    """The rows of every tar there; what is left out is added to `skipped`. See `scan_tars`.

    `folder`, the manifest's, is by default the folder that was given, or the one that holds the tars given.

    Example:
        index_tars(Path("data/cc12m"))[0]["image"]  # "00000.tar@1536+20481+0c0ffee0"
    """
    rows: list[TarRow] = []
    for index in scan_tars(source, folder):
        rows += index.rows
        if skipped is not None:
            skipped += index.skipped
    return rows


def scan_tars(source: Path | str, folder: Path | None = None) -> Iterator[TarIndex]:
    """Index every tar of a folder (and of the folders in it), of a pattern such as `cc12m/000*.tar`, or one tar.

    Members share a key, the name up to the first dot: `000000003.jpg`, `000000003.txt`, `000000003.json`. (So
    `IMG_2.0.png` has the key IMG_2, and is no image of it; where IMG_2 has no other image, it is left out, and told.)
    The caption is the .txt, else the field `caption` of the .json; the class is the .cls, as webdataset's sets for
    classification have it. Left out with a reason: a key without image, or with neither caption nor class; what comes
    twice; an empty image; a caption that is not UTF-8. Of a tar that was cut off the whole members are kept.

    Args:
        source: folder, pattern or file.
        folder: the manifest's folder; tars inside it are named relative to it, others by their absolute path.

    Raises:
        UserError: no tar there; a tar is compressed (there is no seeking in it).

    Example:
        for index in scan_tars(Path("data/cc12m")):
            print(index.tar, len(index.rows), index.skipped[:3])
    """
    tars = find_tars(source)
    if not tars:
        raise UserError(f"{source}: no .tar there; expected tars as img2dataset writes them (00000.tar, ...)")
    base = Path(source) if Path(source).is_dir() else Path(os.path.commonpath([path.parent for path in tars]))
    for path in tqdm(tars, desc="indexing", unit="tar", delay=2):
        yield scan_tar(path, base, folder or base)


def scan_tar(path: Path, base: Path, home: Path) -> TarIndex:
    """Index one tar; see `scan_tars`.

    Args:
        path: the tar, inside `base`.
        base: ids are the tar's path from there, then the key.
        home: the manifest's folder, from which tars are named.

    Example:
        scan_tar(Path("data/cc12m/00000.tar"), Path("data/cc12m"), Path("data/cc12m")).rows[0]["id"]
    """
    absolute, home = path.resolve(), home.resolve()
    named = absolute.relative_to(home) if absolute.is_relative_to(home) else absolute
    prefix = path.relative_to(base).with_suffix("")
    members, skipped = _Members(), []
    with path.open("rb") as file:
        if file.read(6).startswith(_MAGIC):
            raise _compressed(path)
        file.seek(0)
        broken = _read_members(file, members)
        for key in [key for key in members.json_files if key in members.images and key not in members.texts]:
            _take_text(file, members, key, members.json_files[key], is_json=True)
    if broken:
        skipped.append((str(path), f"{broken}; {len(members.images)} images before it"))
    skipped += [(f"{prefix}/{_shown(name)}", "comes twice; the first is kept") for name in members.twice]
    rows: list[TarRow] = []
    for key, (offset, size, check) in members.images.items():
        name = f"{prefix}/{_shown(key)}"
        if not size:
            skipped.append((name, "the image is empty"))
        elif key not in members.texts and not members.labels.get(key):
            skipped.append((name, members.bad_texts.get(key, "no caption")))
        elif name != f"{prefix}/{key}":
            skipped.append((name, "the name is not UTF-8"))
        else:
            image, text = str(Member(str(named), offset, size, check)), members.texts.get(key)
            rows.append({"id": name, "image": image, "text": text, "label": members.labels.get(key) or None})
    told = members.texts.keys() | members.labels.keys() | members.json_files.keys() | members.bad_texts.keys()
    for key in sorted((told | members.dotted.keys()) - members.images.keys()):
        dotted = members.dotted.get(key, [])
        names = ", ".join(map(_shown, dotted[:3])) + (", ..." if len(dotted) > 3 else "")
        why = f"; a key ends at the first dot of its name, as webdataset has it: rename {names}" if dotted else ""
        skipped.append((f"{prefix}/{_shown(key)}", f"no image{why}"))
    return TarIndex(path, rows, skipped)


def find_tars(source: Path | str) -> list[Path]:
    """The tars of a folder (and of the folders in it), of a pattern, or one tar; sorted. None is opened.

    Raises:
        UserError: a tar is compressed, by its name.

    Example:
        find_tars("data/cc12m/000*.tar")
    """
    root = Path(source)
    if root.is_dir():
        files = files_under(root)
    else:
        files = [root] if root.is_file() else sorted(map(Path, glob.glob(str(source), recursive=True)))  # noqa: PTH207
    packed = [path for path in files if path.name.lower().endswith(COMPRESSED)]
    if packed:
        raise _compressed(packed[0], f" ({len(packed)} such files)" if len(packed) > 1 else "")
    tars = [path for path in files if path.suffix.lower() == ".tar"]
    for path in tars:
        if not path.exists():
            raise UserError(f"{path}: a link to a file that is not there; mend or remove it")
    return tars


def _compressed(path: Path, more: str = "") -> UserError:
    return UserError(f"{path}: compressed{more}, and there is no seeking in a compressed tar; decompress it first")


def _read_members(file: BinaryIO, members: _Members) -> str | None:
    """Fill `members`; returns what is wrong with the tar's end, if anything."""
    headers = TarHeaders(file, 0, os.fstat(file.fileno()).st_size)
    for member in headers:
        _take(file, members, member)
    return headers.wrong


def _take(file: BinaryIO, members: _Members, member: tarfile.TarInfo) -> None:
    folder, slash, name = member.name.rpartition("/")
    stem, dot, ending = name.partition(".")
    if not stem or not dot:  # hidden, or without an ending
        return
    key, suffix, span = f"{folder}{slash}{stem}", f".{ending.lower()}", (member.offset_data, member.size)
    if suffix in IMAGE_SUFFIXES:
        if key in members.images:
            members.twice.append(member.name)
        else:
            file.seek(span[0] - BLOCK)
            members.images[key] = (*span, check_of(file.read(BLOCK)))
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
    elif "." in ending and f".{ending.rpartition('.')[2].lower()}" in READ:
        members.dotted.setdefault(key, []).append(name)


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
