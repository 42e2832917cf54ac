"""Images and recordings inside tars, read where they are.

Input: uncompressed tars as img2dataset and webdataset write them. Output: a row for every image or recording with a
caption or a class. It holds the address (`tar_address.py`): where in the tar it begins, its length, and a check of its
header. With addresses a data set of tars is read in any order, so the shuffle is exact. Nothing is extracted: a
member's name can do no harm.
"""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from xmodal.data.sources.tar_address import Member
from xmodal.data.sources.tar_members import Members, read_members, shown, take_text
from xmodal.data.unusable import Bad
from xmodal.errors import UserError
from xmodal.files import files_under
from xmodal.progress import progress_bar

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstandard


class TarRow(TypedDict):
    """One sample: a key's image, its recording, or both, and what is said of it.

    `id` is the tar's path without its ending, then the key; unique over all tars.
    """

    id: str
    image: NotRequired[str]
    audio: NotRequired[str]
    text: str | None  # the caption
    label: str | None  # the class, as written


@dataclass(frozen=True)
class TarIndex:
    """What one tar holds: its rows in the tar's order, and what was left out, with the reason."""

    tar: Path
    rows: list[TarRow]
    skipped: list[Bad]


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
    A recording is a .wav, .flac, .ogg or .mp3.
    The caption is the .txt, else the field `caption` of the .json; the class is the .cls, as webdataset's sets for
    classification have it. Left out with a reason: a key without image and recording, or with neither caption nor
    class; what comes twice; an empty image or recording; a caption that is not UTF-8. Of a tar that was cut off the
    whole members are kept.

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
    for path in progress_bar(tars, desc="indexing", unit="tar", delay=2):
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
    members, skipped = Members(), []
    with path.open("rb") as file:
        if file.read(6).startswith(_MAGIC):
            raise _compressed(path)
        file.seek(0)
        broken = read_members(file, members)
        sampled = members.sampled()
        for key in [key for key in sampled if key in members.json_files and key not in members.texts]:
            take_text(file, members, key, members.json_files[key], is_json=True)
    if broken:
        what = "recordings" if members.medium() == "audio" else "images"
        skipped.append((str(path), f"{broken}; {len(sampled)} {what} before it"))
    skipped += [(f"{prefix}/{shown(name)}", "comes twice; the first is kept") for name in members.twice]
    rows: list[TarRow] = []
    for key in sampled:
        name = f"{prefix}/{shown(key)}"
        found = {"image": members.images.get(key), "audio": members.audio.get(key)}
        addresses = {kind: str(Member(str(named), *span)) for kind, span in found.items() if span and span[1]}
        empty = [kind for kind, span in found.items() if span and not span[1]]
        if empty:
            skipped.append((name, f"the {empty[0]} is empty"))
        elif key not in members.texts and not members.labels.get(key):
            skipped.append((name, members.bad_texts.get(key, "no caption")))
        elif name != f"{prefix}/{key}":
            skipped.append((name, "the name is not UTF-8"))
        else:
            row: TarRow = {"id": name, "text": members.texts.get(key), "label": members.labels.get(key) or None}
            for kind in addresses:
                row["image" if kind == "image" else "audio"] = addresses[kind]
            rows.append(row)
    told = members.texts.keys() | members.labels.keys() | members.json_files.keys() | members.bad_texts.keys()
    for key in sorted((told | members.dotted.keys()) - set(sampled)):
        dotted = members.dotted.get(key, [])
        names = ", ".join(map(shown, dotted[:3])) + (", ..." if len(dotted) > 3 else "")
        why = f"; a key ends at the first dot of its name, as webdataset has it: rename {names}" if dotted else ""
        skipped.append((f"{prefix}/{shown(key)}", f"no {members.medium()}{why}"))
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
