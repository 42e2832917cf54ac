"""Files that are there whole or not at all, and JSON lines with the line number in every error."""

import glob
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xmodal.errors import UserError

_HOST = re.sub(r"[^\w.]", "_", platform.node()) or "host"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes `path`'s place when the block ends, and is gone when it fails.

    What is written reaches the disk before the name does, so neither a kill nor a power cut leaves half a file. Several
    processes may write one path: each writes beside it on its own, and the last one stands. What a killed process of
    this machine left in the folder is taken away. The folder is made where there is none.

    Raises:
        UserError: the library that writes failed with an error of its own (safetensors' on a full disk, torch's).

    Example:
        with written_whole(folder / "rows.npy") as beside:
            np.save(beside, rows)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    beside = path.with_name(f"{path.name}.{_HOST}-{os.getpid()}.tmp")
    try:
        with told_if_full(path):
            yield beside
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            beside.replace(path)
    finally:
        for left in (beside, *path.parent.glob(f"{glob.escape(beside.name)}*")):  # a library may write beside `beside`
            left.unlink(missing_ok=True)


@contextmanager
def told_if_full(path: Path) -> Iterator[None]:
    """Make a library's own error, where `path` cannot be written, a `UserError`."""
    try:
        yield
    except Exception as error:
        if not _cannot_write(error, path.parent):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: cannot be written ({reason}); free space on the disk, or choose another path"
        ) from error


def _cannot_write(error: Exception, folder: Path) -> bool:
    """Is this a library's way to say that a file could not be written, where that is no `OSError`?"""
    if isinstance(error, UserError):
        return False
    if isinstance(error, OSError):
        return not error.strerror  # numpy's says how many numbers it wrote, and no more
    full = shutil.disk_usage(folder).free < 2**20
    return full or (type(error).__name__ == "SafetensorError" and "error" in str(error).lower())


def files_under(folder: Path) -> list[Path]:
    """Every file in a folder and in the folders in it, sorted; hidden ones and broken links, too.

    Links to folders are followed: a data set is often put together of them. Not followed are a link into the folder
    itself, and the second one to a folder elsewhere: what is there is met anyway; and a link to a folder that holds
    this one, which would never end.

    Raises:
        UserError: a folder that cannot be read.

    Example:
        [file for file in files_under(Path("data/cc12m")) if file.suffix == ".tar"]
    """
    root = folder.resolve()
    entered = {root}
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); mend its permissions, or move it away")

    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(parent)
        found += [here / name for name in files]
        for name in sorted(folders):
            if not (here / name).is_symlink():
                continue
            target = (here / name).resolve()
            met_anyway = target.is_relative_to(root) or target in entered
            if met_anyway or root.is_relative_to(target) or here.resolve().is_relative_to(target):
                folders.remove(name)
            else:
                entered.add(target)
    return sorted(found)


def _sweep(folder: Path) -> None:
    """Remove what processes that no longer live left in a folder."""
    for left in folder.glob(f"*.{glob.escape(_HOST)}-*.tmp"):
        pid = left.name.removesuffix(".tmp").rpartition("-")[2]
        if pid.isdecimal() and not _lives(int(pid)):
            left.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def split_lines(text: str) -> list[str]:
    """The lines of a text, which end with a line feed, or a carriage return and a line feed, and nothing else.

    `str.splitlines` also splits at form feeds, U+0085, U+2028 and others, which a caption may hold: then one line is
    two, and every later one has the wrong number.

    Example:
        split_lines("cat\r\nhot\u2028dog\n")  # ["cat", "hot\u2028dog"]
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file."""
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises `UserError` where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read ({reason}); restore it, or remove what it belongs to") from None


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSONL and return their number; nothing is written when making a row fails.

    Example:
        write_json_lines(out / "test.jsonl", [{"id": "a", "text": "lights on", "speech": "wav/a.wav"}])
    """
    count = 0
    with written_whole(path) as beside, beside.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_json_lines(path: Path, hint: str = "check the path") -> list[tuple[str, dict[str, Any]]]:
    """Every row of a JSONL file with where it stands, as in `("a.jsonl: line 3", {...})`; blank lines are passed over.

    Args:
        path: UTF-8, with or without a byte-order mark.
        hint: the way out where there is no such file, or no row in it.

    Raises:
        UserError: no such file, no row, or a line that is no JSON object, with its number and beginning.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {found}, expected JSON lines; {hint}")
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path}: line {number}"
                rows.append((where, _json_object(where, line)))
    if not rows:
        raise UserError(f"{path}: empty, expected at least one row; {hint}")
    return rows


def _json_object(where: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
        json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        reason = "not UTF-8" if isinstance(error, UnicodeError) else reason
        shown = repr(line[:60].decode(errors="replace").strip())
        raise UserError(f"{where} is not JSON ({reason}): {shown}; expected one JSON object per line") from error
    if not isinstance(row, dict):
        raise UserError(f"{where} is a {type(row).__name__}, expected one JSON object per line")
    return row
